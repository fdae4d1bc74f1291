import { expect, it } from 'vitest'
import type { ShownMessage } from '../../../cloud/chat/chat.ts'
import { MessageSearch } from '../../../cloud/chat/message-search.ts'
import { chatCore } from '../../support/chat-core.ts'
import { type DatabaseUnderTest, describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { seededRandom } from '../../support/seeded-random.ts'

await describeOnEveryDatabase('messages read again', suite)

function suite(under: DatabaseUnderTest): void {
  const oneCore = async (options = {}) => chatCore(await under.open(), options)
  const code = (promise: Promise<unknown>) =>
    promise.then(
      () => 'done',
      (error: { code: string }) => error.code,
    )
  const contents = (items: readonly ShownMessage[]) => items.map(({ message }) => message.content)

  it('come in pages, the newest first, which what is said meanwhile does not shift', async () => {
    const { messages, conversation, say } = await oneCore()
    const id = await conversation(['ann', 'bob'])
    for (let i = 1; i <= 7; i++) await say('ann', id, `m${i}`)
    const first = await messages.history('bob', id, { limit: 3 })
    expect(contents(first.items)).toEqual(['m7', 'm6', 'm5'])
    await say('bob', id, 'm8')
    const second = await messages.history('bob', id, { limit: 3, cursor: first.next ?? '' })
    expect(contents(second.items)).toEqual(['m4', 'm3', 'm2'])
    const last = await messages.history('bob', id, { limit: 3, cursor: second.next ?? '' })
    expect([contents(last.items), last.next]).toEqual([['m1'], null])
    expect(contents((await messages.history('bob', id, { before: 3 })).items)).toEqual(['m2', 'm1'])
    expect(await code(messages.history('eve', id))).toBe('CONVERSATION_UNKNOWN')
    expect(await code(messages.history('bob', id, { cursor: 'x' }))).toBe('REGISTRATION_INVALID')
    expect(await code(messages.history('bob', id, { before: 0.5 }))).toBe('INVALID_INPUT')
    expect(await code(messages.history('bob', 'a\0'))).toBe('CONVERSATION_UNKNOWN')
  })

  it('show their sender how far they have come with everybody who is there and may see them', async () => {
    const core = await oneCore()
    const { messages, conversation, say, join, leave, database } = core
    const id = await conversation(['ann', 'bob', 'eve'])
    const mark = (conversationId: string, userId: string, read: number, delivered: number) =>
      database.kysely
        .updateTable('conversation_members')
        .set({ read_position: read, delivered_position: delivered })
        .where('conversation_id', '=', conversationId)
        .where('user_id', '=', userId)
        .execute()
    for (const content of ['one', 'two', 'three']) await say('ann', id, content)
    await database.kysely.updateTable('chat_messages').set({ published_at_ms: 1 }).where('position', '<', 3).execute()
    const statuses = async (userId: string, conversationId = id) =>
      (await messages.history(userId, conversationId)).items.map(({ status }) => status)
    expect(await statuses('ann')).toEqual(['PENDING', 'SENT', 'SENT'])
    expect(await statuses('bob')).toEqual([null, null, null])
    await mark(id, 'bob', 1, 2)
    await mark(id, 'eve', 3, 0)
    expect(await statuses('ann')).toEqual(['PENDING', 'DELIVERED', 'READ'])
    await leave(id, 'bob')
    expect(await statuses('ann')).toEqual(['READ', 'READ', 'READ'])
    // Who joins takes nothing back.
    await join(id, 'zoe')
    expect(await statuses('ann')).toEqual(['READ', 'READ', 'READ'])
    expect((await messages.search('ann', { text: 'two' })).items[0]?.status).toBe('READ')
    const { message } = await messages.get('ann', id, (await messages.history('ann', id)).items[0]?.message.id ?? '')
    const again = { conversationId: id, clientMessageId: message.clientMessageId ?? '', content: 'three' }
    expect(await messages.send('ann', again)).toMatchObject({ repeated: true, status: 'READ' })
    // Who may not see the site any more holds nothing up.
    await core.addUser('bob', [{ role: 'viewer', siteId: 8 }])
    const site = await conversation(['ann', 'bob', 'eve'], { kind: 'site', id: '7' })
    await say('ann', site, 'Gate')
    await mark(site, 'eve', 1, 1)
    expect(await statuses('ann', site)).toEqual(['READ'])
    expect((await messages.since('ann', site, 0)).messages[0]?.status).toBe('READ')
  })

  it('are caught up with once each and in order while others write and edit', async () => {
    const url = await under.freshUrl()
    const [one, other] = [chatCore(await under.open({ url })), chatCore(await under.open({ url }))]
    const seed = 20_261_121
    const random = seededRandom(seed)
    const id = await one.conversation(['ann', 'bob'])
    const written: string[] = []
    const write = async (): Promise<void> => {
      const core = random.fraction() < 0.5 ? one : other
      const target = written[Math.floor(random.fraction() * written.length)]
      const choice = random.fraction()
      if (target === undefined || choice < 0.6) written.push((await core.say('ann', id, `m${written.length}`)).id)
      else if (choice < 0.9)
        await core.messages.edit('ann', id, target, { content: `e${random.fraction()}` }).catch(deleted)
      else await core.messages.remove('ann', id, target)
    }
    for (let i = 0; i < 30; i++) await write()
    const seen = new Map<string, number>()
    let highest = 0
    const catchUp = async (): Promise<void> => {
      let upTo: number | undefined
      for (let more = true; more; ) {
        const page = await other.messages.since('bob', id, highest, {
          limit: 4,
          ...(upTo === undefined ? {} : { upTo }),
        })
        upTo = page.upTo
        more = page.more
        for (const { message } of page.messages) {
          expect(message.revision, `seed ${seed}`).toBeGreaterThan(highest)
          expect(seen.get(message.id) ?? 0).toBeLessThan(message.revision)
          seen.set(message.id, message.revision)
          highest = message.revision
        }
        // Others go on between the pages.
        await Promise.all([write(), write(), random.fraction() < 0.3 ? write() : null])
        if (!more) highest = upTo
      }
    }
    for (let round = 0; round < 4; round++) await catchUp()
    let last = await other.messages.since('bob', id, highest, { limit: 500 })
    for (const { message } of last.messages) seen.set(message.id, message.revision)
    last = await other.messages.since('bob', id, last.upTo, { limit: 500 })
    expect(last).toMatchObject({ messages: [], more: false })
    const { items } = await one.messages.history('ann', id, { limit: 500 })
    expect(Object.fromEntries(seen)).toEqual(
      Object.fromEntries(items.map(({ message }) => [message.id, message.revision])),
    )
    expect(await other.messages.marksOf('bob')).toEqual(new Map([[id, last.upTo]]))
    expect(await code(one.messages.since('bob', id, Number.NaN))).toBe('INVALID_INPUT')
    expect(await code(one.messages.since('eve', id, 0))).toBe('CONVERSATION_UNKNOWN')
  })

  it('are compared for many users at once: what happened since, in what they are in', async () => {
    const clock = new ManualClock()
    const { messages, conversation, say, leave } = await oneCore({ clock })
    const [a, b] = [await conversation(['ann', 'bob']), await conversation(['bob', 'eve', 'ann'])]
    await say('ann', a, 'one')
    clock.advance(10)
    await say('bob', b, 'one')
    const { id } = await say('bob', b, 'two')
    await messages.edit('bob', b, id, { content: 'three' })
    await leave(b, 'ann')
    const rows = await messages.lastRevisions(['ann', 'bob', 'eve', 'nobody'], clock.wallMs() - 8.5)
    expect(rows.toSorted((x, y) => (x.userId < y.userId ? -1 : 1))).toEqual([
      { userId: 'bob', conversationId: b, lastRevision: 3 },
      { userId: 'eve', conversationId: b, lastRevision: 3 },
    ])
    expect(await messages.lastRevisions([], 0)).toEqual([])
    expect(await messages.lastRevisions(['ann'], 0)).toEqual([{ userId: 'ann', conversationId: a, lastRevision: 1 }])
  })

  it('are found by what they say, in whatever case, and only by those who are in the conversation', async () => {
    const clock = new ManualClock()
    const core = await oneCore({ clock })
    const { messages, conversation, leave } = core
    const [a, b, c] = [
      await conversation(['ann', 'bob']),
      await conversation(['ann', 'eve']),
      await conversation(['bob', 'eve']),
    ]
    const say = async (userId: string, id: string, content: string) => {
      clock.advance(1)
      return await core.say(userId, id, content)
    }
    await say('ann', a, 'TRANSFORMER 100%_ok\\')
    await say('bob', a, 'der Übertrager, трансформатор')
    await say('eve', b, 'the transformer! is hot')
    await say('eve', c, 'transformer of others')
    const find = async (userId: string, text: string, conversationId?: string) =>
      contents((await messages.search(userId, { text, conversationId })).items)
    expect(await find('ann', 'transFormer')).toEqual(['the transformer! is hot', 'TRANSFORMER 100%_ok\\'])
    expect(await find('ann', 'transformer', a)).toEqual(['TRANSFORMER 100%_ok\\'])
    expect(await find('ann', 'üBER')).toHaveLength(1)
    expect(await find('ann', 'ТРАНСФОРМАТОР')).toHaveLength(1)
    for (const text of ['0%_O', 'K\\', 'r!', '%']) expect(await find('ann', text)).toHaveLength(1)
    for (const text of ['0_o', 'h_t', 'm%k', '\\_', '!%']) expect(await find('ann', text)).toEqual([])
    expect(await find('mallory', 'transformer')).toEqual([])
    expect(await code(messages.search('ann', { text: 'x', conversationId: c }))).toBe('CONVERSATION_UNKNOWN')
    for (const text of ['', '  ', 'a\0', '\ud83d', 'x'.repeat(201)]) {
      expect(await code(messages.search('ann', { text }))).toBe('INVALID_INPUT')
    }
    expect(await code(messages.search('ann', { text: 'x', cursor: 'eA' }))).toBe('REGISTRATION_INVALID')
    await leave(b, 'ann')
    expect(await find('ann', 'transformer')).toEqual(['TRANSFORMER 100%_ok\\'])
  })

  it('are found page by page, also where a search had to end before it came to them', async () => {
    const clock = new ManualClock()
    const { messages, conversation, say, database } = await oneCore({ clock })
    const id = await conversation(['ann', 'bob'])
    for (let i = 0; i < 12; i++) {
      // Some at the same moment.
      if (i % 3 === 1) clock.advance(1)
      await say('ann', id, i % 2 === 0 ? `match ${i}` : 'other')
    }
    const found: string[] = []
    for (let cursor: string | undefined, pages = 0; pages < 10; pages++) {
      const { items, next } = await messages.search('bob', { text: 'MATCH', limit: 2, cursor })
      found.push(...contents(items))
      if (next === null) break
      cursor = next
    }
    expect(found.toSorted()).toEqual([0, 10, 2, 4, 6, 8].map((i) => `match ${i}`))
    // It looks at one in a statement, and at ten statements' worth in a search.
    const short = new MessageSearch(database, 1)
    const first = await short.find([id], { text: 'match 0' })
    expect(first).toEqual({ items: [], next: expect.any(String) })
    const second = await short.find([id], { text: 'match 0', cursor: first.next ?? '' })
    expect(second.items.map(({ content }) => content)).toEqual(['match 0'])
    expect(await short.find([], { text: 'match 0' })).toEqual({ items: [], next: null })
  })
}

function deleted(error: { readonly code: string }): void {
  expect(error.code).toBe('MESSAGE_DELETED')
}
