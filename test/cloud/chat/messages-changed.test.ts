import { expect, it } from 'vitest'
import { CHAT_MESSAGES, MESSAGE_STATUS_EVENTS } from '../../../cloud/bus/catalogue.ts'
import type { MessageRecord, StatusRecord } from '../../../cloud/chat/chat-records.ts'
import { chatCore } from '../../support/chat-core.ts'
import { type DatabaseUnderTest, describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/until.ts'

await describeOnEveryDatabase('what becomes of messages', suite)

function suite(under: DatabaseUnderTest): void {
  const oneCore = async (options = {}) => chatCore(await under.open(), options)
  const twoCores = async () => {
    const url = await under.freshUrl()
    return [chatCore(await under.open({ url })), chatCore(await under.open({ url }))] as const
  }
  const code = (promise: Promise<unknown>) =>
    promise.then(
      () => 'done',
      (error: { code: string }) => error.code,
    )

  it('is edited by who wrote it, keeps its place, and leaves what it said before', async () => {
    const clock = new ManualClock()
    const { messages, conversation, say, appended, leave, database } = await oneCore({ clock })
    const id = await conversation(['ann', 'bob', 'eve'])
    const links = [{ url: 'https://a/' }]
    const { id: messageId } = await say('ann', id, 'Of', { mentions: ['bob', 'eve'], links })
    await say('bob', id, 'What?')
    await leave(id, 'eve')
    clock.advance(5)
    const edit = (userId: string, changes: object) =>
      messages.edit(userId, id, messageId, { content: 'Off', ...changes })
    expect(await code(edit('bob', {}))).toBe('MESSAGE_NOT_YOURS')
    expect(await code(edit('eve', {}))).toBe('CONVERSATION_UNKNOWN')
    expect(await code(edit('ann', { mentions: ['eve', 'mallory'] }))).toBe('INVALID_INPUT')
    const { message, status } = await edit('ann', {})
    expect(message).toMatchObject({ position: 1, revision: 3, content: 'Off', editedAtMs: clock.wallMs() })
    // Who was mentioned stays so, also who has left.
    expect(message).toMatchObject({ mentions: ['bob', 'eve'], links: [{ url: 'https://a/', name: null }] })
    expect(status).toBe('PENDING')
    const [, , record] = await appended<MessageRecord>(CHAT_MESSAGES)
    expect(record).toMatchObject({ revision: 3, position: 1, content: 'Off', recipientIds: ['bob'] })
    expect(record?.editedAt).toBe(new Date(clock.wallMs()).toISOString())
    // The same again is no change.
    expect((await edit('ann', { mentions: ['bob', 'eve'] })).message).toEqual(message)
    expect(await appended(CHAT_MESSAGES)).toHaveLength(3)
    await edit('ann', { links: [], mentions: [] })
    expect(await messages.revisions('bob', id, messageId)).toEqual([
      {
        replacedByRevision: 3,
        content: 'Of',
        links: [{ url: 'https://a/', name: null }],
        mentions: ['bob', 'eve'],
        replacedAtMs: clock.wallMs(),
        replacedBy: 'ann',
      },
      expect.objectContaining({ replacedByRevision: 4, content: 'Off', mentions: ['bob', 'eve'] }),
    ])
    const row = await database.kysely.selectFrom('conversations').selectAll().executeTakeFirstOrThrow()
    expect(row).toMatchObject({
      last_revision: 4,
      last_message_at_ms: clock.wallMs() - 5,
      updated_at_ms: clock.wallMs(),
    })
    expect(messages.stats().edited).toBe(2)
  })

  it('is deleted by who wrote it or an owner; nothing is left of it but a trace for auditors', async () => {
    const { messages, conversation, say, notice, archive, appended } = await oneCore()
    const id = await conversation(['ann', 'bob', 'eve'])
    const said = await say('bob', id, 'The code is 1234', { mentions: ['eve'] })
    const own = await say('bob', id, 'Mine')
    const line = await notice(id, 'bob', { action: 'renamed', title: 'Other' })
    expect(await code(messages.remove('eve', id, said.id))).toBe('MESSAGE_NOT_YOURS')
    expect((await messages.remove('ann', id, said.id)).message).toMatchObject({
      content: '',
      mentions: [],
      revision: 4,
      position: 1,
      deletedBy: 'ann',
    })
    expect((await messages.remove('bob', id, own.id)).message.deletedBy).toBe('bob')
    // Again changes nothing.
    expect((await messages.remove('bob', id, said.id)).message.revision).toBe(4)
    const records = await appended<MessageRecord>(CHAT_MESSAGES)
    expect(records.slice(3)).toMatchObject([
      { revision: 4, content: '', recipientIds: ['ann', 'eve'] },
      { revision: 5, content: '' },
    ])
    expect(await code(messages.edit('bob', id, said.id, { content: 'x' }))).toBe('MESSAGE_DELETED')
    expect(await code(messages.remove('bob', id, line.id))).toBe('MESSAGE_NOT_YOURS')
    expect(await code(messages.edit('bob', id, line.id, { content: 'x' }))).toBe('MESSAGE_NOT_YOURS')
    expect(await messages.audit(id, said.id)).toMatchObject([{ content: 'The code is 1234', mentions: ['eve'] }])
    for (const who of ['ann', 'bob', 'eve']) {
      expect(await code(messages.revisions(who, id, said.id))).toBe('MESSAGE_TRACE_AUDITORS')
    }
    expect((await messages.search('eve', { text: '1234' })).items).toEqual([])
    for (const unknown of ['msg-000000000000000000000000', "x'\0", '']) {
      expect(await code(messages.edit('bob', id, unknown, { content: 'x' }))).toBe('MESSAGE_UNKNOWN')
      expect(await code(messages.get('bob', id, unknown))).toBe('MESSAGE_UNKNOWN')
    }
    const other = await conversation(['bob', 'mallory'])
    expect(await code(messages.edit('bob', other, own.id, { content: 'x' }))).toBe('MESSAGE_UNKNOWN')
    const kept = await say('bob', id, 'Kept')
    await archive(id)
    expect(await code(messages.edit('bob', id, kept.id, { content: 'x' }))).toBe('CONVERSATION_ARCHIVED')
    expect(await code(messages.remove('bob', id, kept.id))).toBe('CONVERSATION_ARCHIVED')
  })

  it('changes on two cores at once one after the other, each with its number', async () => {
    const [one, other] = await twoCores()
    const id = await one.conversation(['ann', 'bob'])
    const said = await Promise.all([0, 1, 2].map((i) => one.say('ann', id, `m${i}`)))
    const changes = Array.from({ length: 18 }, (_, i) => {
      const core = i % 2 === 0 ? one : other
      return i % 3 === 0
        ? core.say('bob', id, `b${i}`)
        : core.messages.edit('ann', id, said[i % 3]?.id as string, { content: `e${i}` })
    })
    await Promise.all(changes)
    const records = await one.appended<MessageRecord>(CHAT_MESSAGES)
    expect(records.map(({ revision }) => revision)).toEqual(Array.from({ length: 21 }, (_, i) => i + 1))
    const traces = await other.messages.revisions('bob', id, said[1]?.id as string)
    const last = await one.messages.get('bob', id, said[1]?.id as string)
    expect([...traces.map(({ content }) => content), last.message.content]).toHaveLength(7)
    expect(traces.at(-1)?.replacedByRevision).toBe(last.message.revision)
  })

  it('undoes an edit whose answer cannot be remembered', async () => {
    const { messages, conversation, say, appended } = await oneCore()
    const id = await conversation(['ann', 'bob'])
    const { id: messageId } = await say('ann', id, 'Off')
    const lost = messages.edit('ann', id, messageId, { content: 'On' }, async () => {
      throw new Error('the key is lost')
    })
    await expect(lost).rejects.toThrow('the key is lost')
    expect((await messages.get('ann', id, messageId)).message.content).toBe('Off')
    expect(await appended(CHAT_MESSAGES)).toHaveLength(1)
  })

  it('is shown as sent once the bus has it, with one record for all that one sender wrote', async () => {
    const published: string[] = []
    const url = await under.freshUrl()
    const bus = {
      publish: async (topic: string, records: readonly { readonly key: string | null }[]) => {
        published.push(...records.map(({ key }) => `${topic} ${key}`))
      },
    }
    const core = chatCore(await under.open({ url }), { bus })
    const other = chatCore(await under.open({ url }))
    const id = await core.conversation(['ann', 'bob'])
    const sent = await Promise.all([1, 2, 3].map((i) => core.say('ann', id, `m${i}`)))
    await core.say('bob', id, 'Yes')
    await core.notice(id, 'eve', { action: 'joined' })
    expect((await other.messages.get('ann', id, sent[0]?.id as string)).status).toBe('PENDING')
    await core.relay.start()
    await until(async () => (await other.messages.get('ann', id, sent[2]?.id as string)).status === 'SENT')
    expect((await other.messages.get('bob', id, sent[0]?.id as string)).status).toBeNull()
    await until(() => published.filter((each) => each.startsWith(MESSAGE_STATUS_EVENTS)).length === 2)
    const records = await core.appended<StatusRecord>(MESSAGE_STATUS_EVENTS)
    const newest = sent[2]
    expect(records.sort((a, b) => (a.userId < b.userId ? -1 : 1))).toMatchObject([
      { messageId: newest?.id, conversationId: id, status: 'SENT', userId: 'ann', position: 3, recipientIds: ['ann'] },
      { status: 'SENT', userId: 'bob', position: 4, recipientIds: ['bob'] },
    ])
    const unmarked = await core.database.kysely
      .selectFrom('chat_messages')
      .select('id')
      .where('published_at_ms', 'is', null)
      .execute()
    expect(unmarked).toEqual([])
  })

  it('goes when it is old, with what it said before, in steps', async () => {
    const clock = new ManualClock()
    const core = await oneCore({ clock, settings: { keptDays: 2 } })
    const { messages, conversation, say, database } = core
    const id = await conversation(['ann', 'bob'])
    const old = await say('ann', id, 'Old')
    await messages.edit('ann', id, old.id, { content: 'Older' })
    const row = await database.kysely.selectFrom('chat_messages').selectAll().executeTakeFirstOrThrow()
    const many = Array.from({ length: 1_100 }, (_, i) => ({
      ...row,
      id: `msg-${String(i).padStart(24, '0')}`,
      position: 10 + i,
    }))
    for (let i = 0; i < many.length; i += 100) {
      await database.kysely
        .insertInto('chat_messages')
        .values(many.slice(i, i + 100))
        .execute()
    }
    clock.advance(86_400_000)
    const young = await say('ann', id, 'Young')
    clock.advance(86_400_001)
    await messages.start()
    clock.advance(1)
    await until(() => messages.stats().purged === 1_101)
    const { items } = await messages.history('bob', id)
    expect(items.map(({ message }) => message.id)).toEqual([young.id])
    expect(await database.kysely.selectFrom('chat_message_revisions').selectAll().execute()).toEqual([])
  })
}
