/** Coming into conversations and going: marks, handing over, and owners who go at one moment on two cores. */

import { describe, expect, it } from 'vitest'
import { successor } from '../../../cloud/chat/conversation-rules.ts'
import {
  addPeople,
  type ConversationCore,
  conversationCore,
  disable,
  groupOf,
  refusal,
  viewer,
} from '../../support/conversation-core.ts'
import { type DatabaseUnderTest, describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const EVERYBODY = { ann: viewer(1), bob: viewer(1), cleo: viewer(1), dan: viewer(1) }

async function twoCores(databases: DatabaseUnderTest): Promise<[ConversationCore, ConversationCore]> {
  const url = await databases.freshUrl()
  const one = conversationCore(await databases.open({ url }))
  await addPeople(one.database, EVERYBODY)
  return [one, conversationCore(await databases.open({ url }))]
}

async function membersOf({ database }: ConversationCore, id: string): Promise<string> {
  const rows = await database.kysely
    .selectFrom('conversation_members')
    .select(['user_id', 'role'])
    .where('conversation_id', '=', id)
    .where('left_at_ms', 'is', null)
    .orderBy('user_id')
    .execute()
  return rows.map(({ user_id, role }) => (role === 'owner' ? `${user_id}*` : user_id)).join(' ')
}

/** To whom the last event went. */
async function lastRecipients({ database }: ConversationCore): Promise<string[]> {
  const rows = await database.kysely.selectFrom('outbox').select('value').orderBy('id', 'desc').limit(1).execute()
  return JSON.parse(rows[0]?.value ?? '{}').recipientIds
}

await describeOnEveryDatabase('members', (databases) => {
  it('who come back keep marks that never go back, and begin where the conversation is', async () => {
    const [core] = await twoCores(databases)
    const { conversations, database } = core
    const ann = await core.asker('ann')
    const id = await groupOf(core, 'ann', 'bob')
    const setMarks = (read: number, delivered: number) =>
      database.kysely
        .updateTable('conversation_members')
        .set({ read_position: read, delivered_position: delivered })
        .where('user_id', '=', 'bob')
        .execute()
    await core.say(id, 'ann')
    await core.say(id, 'ann')
    await setMarks(2, 3)
    expect(await conversations.get('bob', id)).toMatchObject({ unread: 1, own: { readPosition: 2 } })
    await conversations.removeMember('ann', id, 'bob')
    expect(await lastRecipients(core)).toEqual(['bob'])
    await core.say(id, 'ann')
    expect(await lastRecipients(core)).toEqual([])
    await conversations.addMembers(ann, id, ['bob', 'cleo'])
    const marks = { readPosition: 5, deliveredPosition: 5 }
    expect(await conversations.get('bob', id)).toMatchObject({ unread: 0, lastRevision: 6, own: marks })
    expect(await conversations.get('cleo', id)).toMatchObject({ unread: 0, own: marks })
    await conversations.removeMember('bob', id, 'bob')
    // As a clock or a restored backup could have it.
    await setMarks(90, 91)
    await conversations.addMembers(ann, id, ['bob'])
    expect(await conversations.get('bob', id)).toMatchObject({ own: { readPosition: 90, deliveredPosition: 91 } })
    expect(await core.notices(id)).toEqual([
      'ann created bob Crew',
      'ann removed bob',
      'ann added bob cleo',
      'bob left',
      'ann added bob',
    ])
  })

  it('who own a group alone hand it over when they go: to the person who joined first', async () => {
    const clock = new ManualClock()
    const core = conversationCore(await databases.open(), { clock })
    await addPeople(core.database, EVERYBODY)
    const id = await groupOf(core, 'ann', 'dan')
    clock.advance(1_000)
    await core.conversations.addMembers(await core.asker('ann'), id, ['bob', 'cleo'])
    await core.conversations.removeMember('ann', id, 'ann')
    expect(await membersOf(core, id)).toBe('bob cleo dan*')
    expect((await core.notices(id)).slice(2)).toEqual(['ann role dan owner', 'ann left'])
    // Who is no user any more owns nothing: whoever is next does what an owner does as soon as it is needed.
    await disable(core.database, 'dan')
    const rename = (userId: string) => core.conversations.change(userId, id, { title: userId })
    expect(await refusal(rename('cleo'))).toBe('CONVERSATION_OWNER_ONLY')
    expect(await rename('bob')).toMatchObject({ title: 'bob', own: { role: 'owner' } })
    expect(await membersOf(core, id)).toBe('bob* cleo dan*')
    for (const userId of ['bob', 'cleo', 'dan']) await core.conversations.removeMember(userId, id, userId)
    expect(await membersOf(core, id)).toBe('')
    expect((await core.notices(id)).at(-1)).toBe('dan left')
  })

  it('that own a group and go or remove each other at one moment leave it with an owner', async () => {
    const [one, other] = await twoCores(databases)
    const id = await groupOf(one, 'ann', 'bob', 'cleo')
    await one.conversations.setRole('ann', id, 'bob', 'owner')
    await Promise.all([
      one.conversations.removeMember('ann', id, 'ann'),
      other.conversations.removeMember('bob', id, 'bob'),
    ])
    expect(await membersOf(one, id)).toBe('cleo*')

    const second = await groupOf(one, 'ann', 'bob', 'cleo')
    await one.conversations.setRole('ann', second, 'bob', 'owner')
    const removed = await Promise.allSettled([
      one.conversations.removeMember('ann', second, 'bob'),
      other.conversations.removeMember('bob', second, 'ann'),
    ])
    expect(removed.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
    expect(await membersOf(one, second)).toBe(removed[0]?.status === 'fulfilled' ? 'ann* cleo' : 'bob* cleo')

    const third = await groupOf(one, 'ann', 'bob')
    await one.conversations.setRole('ann', third, 'bob', 'owner')
    const demoted = await Promise.allSettled([
      one.conversations.setRole('ann', third, 'ann', 'member'),
      other.conversations.setRole('bob', third, 'bob', 'member'),
    ])
    expect(demoted.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
    expect((await membersOf(one, third)).match(/\*/g)).toHaveLength(1)
  })

  it('come in no further than the limit goes, also added at one moment on two cores', async () => {
    const url = await databases.freshUrl()
    const limits = { membersMax: 3 }
    const one = conversationCore(await databases.open({ url }), limits)
    const other = conversationCore(await databases.open({ url }), limits)
    await addPeople(one.database, EVERYBODY)
    const id = await groupOf(one, 'ann', 'bob')
    const ann = await one.asker('ann')
    const added = await Promise.allSettled([
      one.conversations.addMembers(ann, id, ['cleo']),
      other.conversations.addMembers(ann, id, ['dan']),
    ])
    expect(added.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
    expect(await refusal(one.conversations.addMembers(ann, id, ['cleo', 'dan']))).toBe('MEMBERS_MAX')
  })

  it('change nothing when what is to be stored with it cannot be', async () => {
    const [core] = await twoCores(databases)
    const { conversations } = core
    const ann = await core.asker('ann')
    const id = await groupOf(core, 'ann', 'bob')
    const fail = async () => {
      throw new Error('undone')
    }
    for (const asked of [
      () => conversations.begin(ann, { kind: 'group', title: 'Other' }, fail),
      () => conversations.begin(ann, { kind: 'direct', userId: 'bob' }, fail),
      () => conversations.change('ann', id, { title: 'Other', archived: true }, fail),
      () => conversations.addMembers(ann, id, ['cleo'], fail),
      () => conversations.setRole('ann', id, 'bob', 'owner', fail),
      () => conversations.removeMember('ann', id, 'ann', fail),
    ]) {
      await expect(asked()).rejects.toThrow('undone')
    }
    expect(await membersOf(core, id)).toBe('ann* bob')
    expect(await core.notices(id)).toEqual(['ann created bob Crew'])
    expect((await conversations.list('ann', { archived: true })).items).toMatchObject([{ id, title: 'Crew' }])
    expect(await core.database.kysely.selectFrom('outbox').select('id').execute()).toHaveLength(1)
  })
})

describe('the successor of an owner', () => {
  const member = (userId: string, joinedAtMs: number, role: 'owner' | 'member' = 'member') => {
    return { userId, joinedAtMs, role }
  }
  const NOBODY = new Set<string>()

  it('is the person who joined first and is still there, a program only where there is no person', () => {
    const key = 'api-key:0123456789abcdef'
    const members = [member('bob', 2), member(key, 1), member('ann', 2), member('cleo', 3)]
    expect(successor(members, NOBODY)).toBe('ann')
    expect(successor(members, new Set(['ann', 'bob']))).toBe('cleo')
    expect(successor([member(key, 1)], NOBODY)).toBe(key)
    expect(successor([...members, member('dan', 9, 'owner')], NOBODY)).toBeNull()
    expect(successor([...members, member('dan', 9, 'owner')], new Set(['dan']))).toBe('ann')
    expect(successor([], NOBODY)).toBeNull()
    expect(successor([member('dan', 9, 'owner')], new Set(['dan']))).toBeNull()
  })
})
