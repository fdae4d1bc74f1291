/** Conversations as they are listed: in which order, with what was said last and how much is not read. */

import type { KyselyPlugin } from 'kysely'
import { expect, it } from 'vitest'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { addPeople, conversationCore, groupOf, refusal, viewer } from '../../support/conversation-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** The same database, and how many statements were made through it. */
function counted(database: DatabaseHandle): { readonly database: DatabaseHandle; statements: number } {
  const count = { database, statements: 0 }
  const plugin: KyselyPlugin = {
    transformQuery({ node }) {
      count.statements++
      return node
    },
    transformResult: async ({ result }) => result,
  }
  count.database = Object.create(database, { kysely: { value: database.kysely.withPlugin(plugin) } })
  return count
}

await describeOnEveryDatabase('lists of conversations', (databases) => {
  it('begin where something was said last, page by page, with few statements for many', async () => {
    const clock = new ManualClock()
    const count = counted(await databases.open())
    const core = conversationCore(count.database, { clock })
    const { conversations } = core
    await addPeople(core.database, { ann: viewer(1), bob: viewer(1), cleo: viewer(1) })
    const ann = await core.asker('ann')
    const ids: string[] = []
    for (let i = 0; i < 6; i++) {
      clock.advance(1_000)
      ids.push(await groupOf(core, 'ann', 'bob'))
    }
    clock.advance(1_000)
    const direct = await conversations.begin(ann, { kind: 'direct', userId: 'cleo' })
    clock.advance(1_000)
    const said = await core.say(ids[2] as string, 'bob', 'the breaker is open')
    const order = [ids[2], direct.conversation.id, ...[5, 4, 3, 1, 0].map((i) => ids[i])]
    count.statements = 0
    const all = await conversations.list('ann')
    const statements = count.statements
    expect(all.items.map(({ id }) => id)).toEqual(order)
    expect(all.items[0]).toMatchObject({ lastMessage: said, unread: 1, memberCount: 2, title: 'Crew', link: null })
    expect(all.items[1]).toMatchObject({ title: 'cleo', unread: 0, lastMessage: { notice: { action: 'created' } } })
    expect(all.next).toBeNull()

    const walked: string[] = []
    let cursor: string | undefined
    do {
      const page = await conversations.list('ann', { limit: 3, ...(cursor === undefined ? {} : { cursor }) })
      walked.push(...page.items.map(({ id }) => id))
      // What moves to the front meanwhile shifts nothing.
      if (cursor === undefined) await core.say(ids[5] as string, 'bob')
      cursor = page.next ?? undefined
    } while (cursor !== undefined)
    expect(walked).toEqual(order)
    count.statements = 0
    await conversations.list('ann', { limit: 1 })
    expect(statements).toBeLessThanOrEqual(count.statements + 2)
    expect(statements).toBeLessThan(10)

    await conversations.change('ann', ids[0] as string, { archived: true })
    expect((await conversations.list('bob')).items.map(({ id }) => id)).not.toContain(ids[0])
    expect((await conversations.list('bob', { archived: true })).items.map(({ id }) => id)).toContain(ids[0])
    expect((await conversations.list('ann', { kind: 'direct' })).items).toMatchObject([{ withUserId: 'cleo' }])
    await expect(conversations.list('ann', { limit: 0 })).rejects.toMatchObject({ fields: [{ field: 'limit' }] })
    for (const wrong of ['x', Buffer.from('"1/conv-x"').toString('base64url')]) {
      await expect(conversations.list('ann', { cursor: wrong })).rejects.toMatchObject({
        fields: [{ field: 'cursor' }],
      })
    }
  })

  it('count what others have said and is not deleted, up to a limit', async () => {
    const core = conversationCore(await databases.open())
    await addPeople(core.database, { ann: viewer(1), bob: viewer(1) })
    const id = await groupOf(core, 'ann', 'bob')
    const unread = async (userId: string) => (await core.conversations.get(userId, id)).unread
    const first = await core.say(id, 'ann')
    await core.say(id, 'ann')
    await core.say(id, 'bob')
    expect([await unread('ann'), await unread('bob')]).toEqual([1, 2])
    const { kysely } = core.database
    await kysely.updateTable('chat_messages').set({ deleted_at_ms: 1 }).where('id', '=', first.id).execute()
    expect(await unread('bob')).toBe(1)
    const row = { conversation_id: id, kind: 'MESSAGE', sender_id: 'ann', content: '', search_text: '', sent_at_ms: 1 }
    const many = Array.from({ length: 1_050 }, (_, i) => {
      return { ...row, id: `msg-${i}`, position: 100 + i, revision: 100 + i }
    })
    for (let i = 0; i < many.length; i += 350) {
      await kysely
        .insertInto('chat_messages')
        .values(many.slice(i, i + 350) as never)
        .execute()
    }
    expect(await unread('bob')).toBe(1_000)
  })

  it('have everybody who is named where nobody logs in', async () => {
    const core = conversationCore(await databases.open(), { nobodyLogsIn: true })
    const ann = await core.asker('ann@example.org')
    const { conversation } = await core.conversations.begin(ann, { kind: 'direct', userId: 'Bob' })
    expect(conversation).toMatchObject({ title: 'Bob', memberCount: 2 })
    const wrong = ['not a user', 'api-key:0123456789abcdef']
    for (const userId of wrong) {
      expect(await refusal(core.conversations.begin(ann, { kind: 'direct', userId }))).toBe('INVALID_INPUT /userId')
    }
    expect((await core.conversations.list('Bob')).items).toMatchObject([{ title: 'ann@example.org' }])
  })
})
