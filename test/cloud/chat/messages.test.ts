import { describe, expect, it } from 'vitest'
import { CHAT_MESSAGES } from '../../../cloud/bus/catalogue.ts'
import type { MessageRecord } from '../../../cloud/chat/chat-records.ts'
import { messageIdOf } from '../../../cloud/chat/message.ts'
import { chatCore } from '../../support/chat-core.ts'
import { type DatabaseUnderTest, describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { seededRandom } from '../../support/seeded-random.ts'

await describeOnEveryDatabase('sending messages', suite)

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

  it('stores a message with what tells of it, and counts the conversation on', async () => {
    const clock = new ManualClock()
    const { messages, conversation, appended, database } = await oneCore({ clock })
    const id = await conversation(['ann', 'bob', 'eve'])
    const links = [{ url: 'https://example.org/plan.pdf', name: 'Plan' }, { url: 'http://10.0.0.1/' }]
    const message = {
      conversationId: id,
      clientMessageId: 'a-1',
      content: '<b>Feeder 4</b> 😀\n%',
      links,
      mentions: ['bob'],
    }
    const sent = await messages.send('ann', message)
    expect(sent).toMatchObject({ status: 'PENDING', repeated: false })
    expect(sent.message).toMatchObject({ id: messageIdOf('ann', 'a-1'), position: 1, revision: 1, kind: 'MESSAGE' })
    expect((await messages.get('bob', id, sent.message.id)).message).toEqual(sent.message)
    const [record] = await appended<MessageRecord>(CHAT_MESSAGES)
    expect(record).toEqual({
      content: message.content,
      recipientId: null,
      conversationId: id,
      messageId: sent.message.id,
      senderId: 'ann',
      sentAt: new Date(clock.wallMs()).toISOString(),
      kind: 'MESSAGE',
      position: 1,
      revision: 1,
      recipientIds: ['bob', 'eve'],
      clientMessageId: 'a-1',
      links: [links[0], { url: 'http://10.0.0.1/', name: null }],
      mentions: ['bob'],
      notice: null,
      editedAt: null,
      deletedAt: null,
    })
    const row = await database.kysely.selectFrom('conversations').selectAll().executeTakeFirstOrThrow()
    expect(row).toMatchObject({ last_revision: 1, last_message_at_ms: clock.wallMs(), updated_at_ms: clock.wallMs() })
    const outboxRow = await database.kysely.selectFrom('outbox').selectAll().executeTakeFirstOrThrow()
    expect(outboxRow.key).toBe(id)
    expect(JSON.parse(outboxRow.headers ?? '')).toEqual({ source: 'communication', event: 'created' })
  })

  it('tells the other one of two whom it is to, and who may not see what it is about nothing', async () => {
    const core = await oneCore()
    const direct = await core.conversation(['ann', 'bob'], 'direct')
    await core.say('bob', direct, 'Here')
    await core.addUser('ann', [{ role: 'viewer', siteId: 7 }])
    await core.addUser('eve', [{ role: 'viewer', siteId: 8 }])
    const site = await core.conversation(['ann', 'eve', 'bob'], { kind: 'site', id: '7' })
    await core.say('ann', site, 'Gate is open')
    const [first, second] = await core.appended<MessageRecord>(CHAT_MESSAGES)
    expect(first).toMatchObject({ recipientId: 'ann', recipientIds: ['ann'] })
    expect(second).toMatchObject({ recipientId: null, recipientIds: ['bob'] })
    expect(await code(core.say('eve', site, 'x'))).toBe('CONVERSATION_UNKNOWN')
    expect(await code(core.messages.history('eve', site))).toBe('CONVERSATION_UNKNOWN')
    expect([...(await core.messages.marksOf('eve'))]).toEqual([])
    expect([...(await core.messages.marksOf('ann'))].sort()).toEqual(
      [
        [direct, 1],
        [site, 1],
      ].sort(),
    )
    expect(await core.messages.lastRevisions(['ann', 'eve'], 0)).toHaveLength(2)
    expect((await core.messages.search('eve', { text: 'gate' })).items).toEqual([])
  })

  it('keeps one order for everyone and no gap, whoever sends on whichever core', async () => {
    const [one, other] = await twoCores()
    const [a, b] = [await one.conversation(['ann', 'bob']), await one.conversation(['bob', 'ann'])]
    const random = seededRandom(7)
    const sends = Array.from({ length: 120 }, (_, i) => {
      const core = random.fraction() < 0.5 ? one : other
      const id = random.fraction() < 0.7 ? a : b
      if (random.fraction() < 0.1) return core.notice(id, 'ann', { action: 'renamed', title: String(i) })
      return core.say(random.fraction() < 0.5 ? 'ann' : 'bob', id, `m${i}`)
    })
    const sent = await Promise.all(sends)
    for (const id of [a, b]) {
      const { items } = await other.messages.history('bob', id, { limit: 500 })
      const expected = sent.filter(({ conversationId }) => conversationId === id)
      expect(items.map(({ message }) => message.position)).toEqual(
        Array.from({ length: expected.length }, (_, i) => expected.length - i),
      )
      // What is to be published has the order of the conversation as well.
      const records = (await one.appended<MessageRecord>(CHAT_MESSAGES)).filter((each) => each.conversationId === id)
      expect(records.map(({ revision }) => revision)).toEqual(expected.map((_, i) => i + 1))
    }
    expect(one.messages.stats().batches).toBeLessThan(40)
  })

  it('answers a resend as the first, also when both come at once to two cores, and after the conversation was archived', async () => {
    const [one, other] = await twoCores()
    const [id, second] = [await one.conversation(['ann', 'bob']), await one.conversation(['ann', 'bob'])]
    const again = (core: typeof one, clientMessageId: string, conversationId = id, content = 'Off') =>
      core.messages.send('ann', { conversationId, clientMessageId, content })
    const raced = await Promise.all(
      Array.from({ length: 24 }, (_, i) => again(i % 2 === 0 ? one : other, `c-${i % 6}`)),
    )
    expect(raced.filter(({ repeated }) => !repeated)).toHaveLength(6)
    expect(new Set(raced.map(({ message }) => `${message.id} ${message.position}`)).size).toBe(6)
    // The same name for two conversations: one of them has it.
    const clash = await Promise.all([code(again(one, 'x', id)), code(again(other, 'x', second))])
    expect(clash.sort()).toEqual(['MESSAGE_ID_REUSED', 'done'])
    expect(await code(again(one, 'c-1', id, 'On'))).toBe('MESSAGE_ID_REUSED')
    // A name is one's own.
    await expect(
      one.messages.send('bob', { conversationId: id, clientMessageId: 'c-1', content: 'On' }),
    ).resolves.toMatchObject({ repeated: false })
    await one.messages.edit('ann', id, messageIdOf('ann', 'c-1'), { content: 'On' })
    await one.messages.remove('ann', id, messageIdOf('ann', 'c-2'))
    await one.archive(id)
    for (const name of ['c-0', 'c-1', 'c-2']) expect((await again(other, name)).repeated).toBe(true)
    expect(await code(again(other, 'c-1', id, 'On'))).toBe('MESSAGE_ID_REUSED')
    expect(await code(again(other, 'new'))).toBe('CONVERSATION_ARCHIVED')
    await one.leave(id, 'ann')
    expect((await again(one, 'c-0')).repeated).toBe(true)
    expect(await code(again(one, 'new'))).toBe('CONVERSATION_UNKNOWN')
    const rows = await one.database.kysely.selectFrom('chat_messages').select('position').execute()
    const appended = await one.appended<MessageRecord>(CHAT_MESSAGES)
    expect(appended).toHaveLength(rows.length + 2)
  })

  it('refuses each for itself, with what is wrong, and stores those beside it', async () => {
    const { messages, conversation, say, database } = await oneCore()
    const id = await conversation(['ann', 'bob'])
    const outcomes = await Promise.all([
      code(say('ann', id, 'one')),
      code(say('eve', id, 'not a member')),
      code(say('ann', 'conv-000000000000000000000000', 'unknown')),
      code(say('ann', "conv'; drop table users", 'unknown\n')),
      code(say('ann', 'a\0b', 'unknown')),
      code(say('ann', id, ' ')),
      code(say('ann', id, 'x'.repeat(4_001))),
      code(say('ann', id, 'hello', { mentions: ['bob', 'eve\0'] })),
      code(say('bob', id, 'two')),
    ])
    expect(outcomes).toEqual([
      'done',
      'CONVERSATION_UNKNOWN',
      'CONVERSATION_UNKNOWN',
      'CONVERSATION_UNKNOWN',
      'CONVERSATION_UNKNOWN',
      'INVALID_INPUT',
      'INVALID_INPUT',
      'INVALID_INPUT',
      'done',
    ])
    await expect(say('ann', id, 'hello', { mentions: ['bob', 'eve'] })).rejects.toMatchObject({
      fields: [{ pointer: '/mentions/1', value: 'eve', remedy: expect.stringContaining('in this conversation') }],
    })
    const { items } = await messages.history('ann', id)
    expect(items.map(({ message }) => [message.position, message.content])).toEqual([
      [2, 'two'],
      [1, 'one'],
    ])
    expect(await database.kysely.selectFrom('outbox').select('id').execute()).toHaveLength(2)
    expect(messages.stats()).toMatchObject({ sent: 2, refused: { CONVERSATION_UNKNOWN: 4, INVALID_INPUT: 4 } })
  })

  it('stores what belongs to a message with it, or neither, and spares what was sent beside it', async () => {
    const { messages, conversation, database, say } = await oneCore()
    const id = await conversation(['ann', 'bob'])
    const message = (clientMessageId: string) => ({ conversationId: id, clientMessageId, content: clientMessageId })
    const remembered: string[] = []
    const outcomes = await Promise.all([
      code(messages.send('ann', message('a'))),
      code(
        messages.send('ann', message('b'), async () => {
          throw Object.assign(new Error('the key is lost'), { code: 'KEY_LOST' })
        }),
      ),
      code(
        messages.send('ann', message('c'), async ({ message: { position } }, transaction) => {
          remembered.push(`c ${position}`)
          await transaction.insertInto('duties').values({ name: 'c', holder: 'test', until_ms: position }).execute()
        }),
      ),
      code(say('bob', id, 'd')),
    ])
    expect(outcomes).toEqual(['done', 'KEY_LOST', 'done', 'done'])
    // It ran again without the one that was refused, with the number that it has then.
    expect(remembered.at(-1)).toBe('c 2')
    const duty = await database.kysely.selectFrom('duties').selectAll().executeTakeFirstOrThrow()
    expect(duty.until_ms).toBe(2)
    const { items } = await messages.history('ann', id)
    expect(items.map(({ message: { content } }) => content)).toEqual(['d', 'c', 'a'])
    // A resend has its own, in a transaction that stores nothing else.
    const repeated: boolean[] = []
    await messages.send('ann', message('a'), async (sent) => void repeated.push(sent.repeated))
    expect(repeated).toEqual([true])
    expect(await database.kysely.selectFrom('outbox').select('id').execute()).toHaveLength(3)
  })

  it('stores neither message nor record when the database fails in between, and both when it is sent again', async () => {
    const { messages, conversation, database, outbox } = await oneCore()
    const id = await conversation(['ann', 'bob'])
    const append = outbox.append.bind(outbox)
    outbox.append = async () => {
      throw new Error('in between')
    }
    const message = { conversationId: id, clientMessageId: 'a', content: 'Off' }
    await expect(messages.send('ann', message)).rejects.toThrow('in between')
    expect(await database.kysely.selectFrom('chat_messages').select('id').execute()).toEqual([])
    outbox.append = append
    expect(await messages.send('ann', message)).toMatchObject({ repeated: false, message: { position: 1 } })
    expect(await database.kysely.selectFrom('outbox').select('id').execute()).toHaveLength(1)
  })

  it('tells who floods how long to wait, and nobody else', async () => {
    const clock = new ManualClock()
    const { conversation, say, messages } = await oneCore({
      clock,
      settings: { messagesPerMinute: 60, messagesBurst: 3 },
    })
    const id = await conversation(['ann', 'bob'])
    const outcomes = await Promise.allSettled(Array.from({ length: 5 }, (_, i) => say('ann', id, `m${i}`)))
    expect(outcomes.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'fulfilled',
      'rejected',
      'rejected',
    ])
    const flood = say('ann', id, 'again')
    await expect(flood).rejects.toMatchObject({
      code: 'RATE_LIMITED',
      refusal: 'TOO_MANY_REQUESTS',
      retryAfterMs: 1_000,
    })
    await say('bob', id, 'calm')
    clock.advance(1_000)
    await say('ann', id, 'after the wait')
    expect(await code(messages.edit('ann', id, messageIdOf('ann', 'x'), { content: 'y' }))).toBe('RATE_LIMITED')
  })
}

describe('the name of a message', () => {
  it('is of its sender and their name for it', () => {
    expect(messageIdOf('ann', 'a')).toMatch(/^msg-[0-9a-f]{24}$/)
    expect(new Set([messageIdOf('ann', 'a'), messageIdOf('ann', 'b'), messageIdOf('bob', 'a')]).size).toBe(3)
  })
})
