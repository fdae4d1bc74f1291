/** Conversations: how they begin, who is in them, and who may do what, with one core and with two. */

import { expect, it } from 'vitest'
import { directId } from '../../../cloud/chat/chat.ts'
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

const EVERYBODY = { ann: viewer(1), bob: viewer(1), cleo: viewer(1, 2), dan: viewer(2), root: viewer('all') }

async function coreOf(databases: DatabaseUnderTest, options: Parameters<typeof conversationCore>[1] = {}) {
  const core = conversationCore(await databases.open(), options)
  await addPeople(core.database, EVERYBODY)
  return core
}

async function rolesIn({ conversations }: ConversationCore, userId: string, id: string) {
  const { items } = await conversations.members(userId, id)
  return items.map((member) => (member.role === 'owner' ? `${member.userId}*` : member.userId)).join(' ')
}

/** What they were refused for, each once. */
async function refusals(asked: readonly Promise<unknown>[]): Promise<string[]> {
  return [...new Set(await Promise.all(asked.map(refusal)))]
}

await describeOnEveryDatabase('conversations', (databases) => {
  it('of two begin once, whoever begins them, also on two cores at one moment', async () => {
    const url = await databases.freshUrl()
    const [one, other] = [
      conversationCore(await databases.open({ url })),
      conversationCore(await databases.open({ url })),
    ]
    await addPeople(one.database, EVERYBODY)
    const [ann, bob] = [await one.asker('ann'), await one.asker('bob')]
    const both = await Promise.all([
      one.conversations.begin(ann, { kind: 'direct', userId: 'bob' }),
      other.conversations.begin(bob, { kind: 'direct', userId: 'ann' }),
    ])
    const id = directId('bob', 'ann')
    expect(both.map(({ conversation }) => conversation.id)).toEqual([id, id])
    expect(both.map(({ created }) => created).toSorted()).toEqual([false, true])
    expect(await one.notices(id)).toHaveLength(1)
    expect(await one.conversations.get('ann', id)).toMatchObject({ title: 'bob', withUserId: 'bob', memberCount: 2 })
    expect(await one.conversations.get('bob', id)).toMatchObject({ title: 'ann', withUserId: 'ann', lastRevision: 1 })
    // Also when one of them is there no more.
    await disable(one.database, 'bob')
    const again = await other.conversations.begin(ann, { kind: 'direct', userId: 'bob' })
    expect(again).toMatchObject({ created: false, conversation: { id } })
  })

  it('change so often in a minute of one user, whom nobody else waits for', async () => {
    const core = await coreOf(databases, { messagesPerMinute: 1, messagesBurst: 4 })
    const { conversations } = core
    const ann = await core.asker('ann')
    const { conversation } = await conversations.begin(ann, { kind: 'group', title: 'Shift', userIds: ['bob'] })
    const asked = [
      conversations.change('ann', conversation.id, { title: 'Night' }),
      conversations.setRole('ann', conversation.id, 'bob', 'owner'),
      conversations.removeMember('ann', conversation.id, 'bob'),
      conversations.addMembers(ann, conversation.id, ['bob']),
    ]
    const outcomes = await Promise.allSettled(asked)
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled', 'rejected'])
    expect(await refusals([asked[3] as Promise<unknown>])).toEqual(['RATE_LIMITED'])
    expect(await refusals([conversations.begin(ann, { kind: 'direct', userId: 'bob' })])).toEqual(['RATE_LIMITED'])
    const begun = await conversations.begin(await core.asker('bob'), { kind: 'direct', userId: 'ann' })
    expect(begun.created).toBe(true)
  })

  it('begin with people whom one knows, and say what is wrong otherwise', async () => {
    const core = await coreOf(databases, { membersMax: 3, conversationsMax: 2 })
    const { conversations } = core
    const ann = await core.asker('ann')
    const direct = (userId: string) => refusal(conversations.begin(ann, { kind: 'direct', userId }))
    for (const userId of ['ann', 'dan', 'nobody', 'not a user', 'api-key:0123456789abcdef']) {
      expect(await direct(userId)).toBe('INVALID_INPUT /userId')
    }
    const group = (userIds: string[], title = 'Crew') =>
      refusal(conversations.begin(ann, { kind: 'group', title, userIds }))
    expect(await group(['dan', 'x y'])).toBe('INVALID_INPUT /userIds/1')
    expect(await group(['dan', 'eve'])).toBe('INVALID_INPUT /userIds/0 /userIds/1')
    expect(await group(['bob', 'cleo', 'root'])).toBe('MEMBERS_MAX')
    expect(await group([], ' Crew')).toBe('INVALID_INPUT /title')
    const program = { userId: 'api-key:0123456789abcdef', sees: 'all' } as const
    expect(await refusal(conversations.begin(program, { kind: 'group', title: 'x' }))).toBe('PERSON_REQUIRED')
    const id = await groupOf(core, 'ann', 'bob', 'bob', 'ann', 'cleo')
    expect(await core.notices(id)).toEqual(['ann created bob cleo Crew'])
    expect(await rolesIn(core, 'cleo', id)).toBe('ann* bob cleo')
    await groupOf(core, 'ann')
    expect(await group([])).toBe('CONVERSATIONS_MAX')
    const root = await core.asker('root')
    expect(await refusal(conversations.begin(root, { kind: 'direct', userId: 'ann' }))).toBe('CONVERSATIONS_MAX')
    expect((await conversations.list('ann')).items).toHaveLength(2)
  })

  it('are for who is in them, and the same unknown one for everybody else', async () => {
    const core = await coreOf(databases)
    const { conversations } = core
    const id = await groupOf(core, 'ann', 'bob')
    const cleo = await core.asker('cleo')
    for (const conversationId of [id, `conv-${'0'.repeat(24)}`, 'nonsense', 'x\0']) {
      expect(
        await refusals([
          conversations.get('cleo', conversationId),
          conversations.change('cleo', conversationId, { title: 'Mine' }),
          conversations.members('cleo', conversationId),
          conversations.addMembers(cleo, conversationId, ['cleo', 'root']),
          conversations.setRole('cleo', conversationId, 'cleo', 'owner'),
          conversations.removeMember('cleo', conversationId, 'cleo'),
        ]),
      ).toEqual(['CONVERSATION_UNKNOWN'])
    }
    await conversations.removeMember('bob', id, 'bob')
    expect(await refusal(conversations.get('bob', id))).toBe('CONVERSATION_UNKNOWN')
    expect(await conversations.list('bob')).toEqual({ items: [], next: null })
  })

  it('that are groups belong to their owners, who name them, add, remove, give roles and archive', async () => {
    const core = await coreOf(databases)
    const { conversations } = core
    const id = await groupOf(core, 'ann', 'bob')
    const [ann, bob] = [await core.asker('ann'), await core.asker('bob')]
    expect(
      await refusals([
        conversations.change('bob', id, { title: 'Mine' }),
        conversations.change('bob', id, { archived: true }),
        conversations.addMembers(bob, id, ['cleo']),
        conversations.setRole('bob', id, 'bob', 'owner'),
        conversations.removeMember('bob', id, 'ann'),
      ]),
    ).toEqual(['CONVERSATION_OWNER_ONLY'])
    expect(await refusal(conversations.addMembers(ann, id, ['bob', 'dan']))).toBe('INVALID_INPUT /userIds/1')
    expect((await conversations.addMembers(ann, id, ['bob', 'cleo', 'ann', 'cleo'])).added).toEqual(['cleo'])
    expect((await conversations.addMembers(ann, id, ['cleo'])).added).toEqual([])
    await conversations.setRole('ann', id, 'bob', 'owner')
    await conversations.setRole('ann', id, 'bob', 'owner')
    await conversations.removeMember('bob', id, 'ann')
    expect(await refusal(conversations.setRole('bob', id, 'bob', 'member'))).toBe('CONVERSATION_LAST_OWNER')
    expect(await refusal(conversations.setRole('bob', id, 'ann', 'owner'))).toBe('MEMBER_UNKNOWN')
    expect(await refusal(conversations.removeMember('bob', id, 'ann'))).toBe('MEMBER_UNKNOWN')
    await conversations.change('bob', id, { title: 'Night shift', archived: true })
    expect(await conversations.change('bob', id, { archived: true })).toMatchObject({ archivedBy: 'bob' })
    expect(
      await refusals([
        conversations.change('bob', id, { title: 'x' }),
        conversations.addMembers(bob, id, ['ann']),
        conversations.removeMember('bob', id, 'cleo'),
        conversations.setRole('bob', id, 'cleo', 'owner'),
      ]),
    ).toEqual(['CONVERSATION_ARCHIVED'])
    const reopened = await conversations.change('bob', id, { title: 'Day shift', archived: false })
    expect(reopened).toMatchObject({ title: 'Day shift', archivedAtMs: null, archivedBy: null, lastRevision: 8 })
    expect(await core.notices(id)).toEqual([
      'ann created bob Crew',
      'ann added cleo',
      'ann role bob owner',
      'bob removed ann',
      'bob renamed Night shift',
      'bob archived',
      'bob reopened',
      'bob renamed Day shift',
    ])
  })
})
