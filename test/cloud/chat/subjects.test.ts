/** Conversations about a site, a task or an alert: what they are called, and whom they are for. */

import { describe, expect, it } from 'vitest'
import { Membership, type Subject, subjectConversationId } from '../../../cloud/chat/chat.ts'
import { Subjects, taskTitle } from '../../../cloud/chat/subjects.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { COMMAND_STATES } from '../../../cloud/gateways/gateways.ts'
import type { TaskView } from '../../../cloud/orchestration/orchestration.ts'
import {
  addPeople,
  type ConversationCore,
  conversationCore,
  refusal,
  subjectSources,
  viewer,
} from '../../support/conversation-core.ts'
import { type DatabaseUnderTest, describeOnEveryDatabase } from '../../support/databases.ts'
import { type Place, seedTwoSites } from '../../support/two-sites.ts'

interface Seeded extends ConversationCore {
  readonly north: Place
  readonly url: string
  begin(userId: string, kind: Subject['kind'], subjectId: string): Promise<string>
}

const PEOPLE = { ann: viewer(1), bob: viewer(1), cleo: viewer(1, 2), dan: viewer(2), root: viewer('all') }

async function seeded(databases: DatabaseUnderTest): Promise<Seeded> {
  const url = await databases.freshUrl()
  const core = conversationCore(await databases.open({ url }))
  const [north] = await seedTwoSites(core.database)
  await addPeople(core.database, { ...PEOPLE, somebody: [] })
  return {
    ...core,
    north,
    url,
    async begin(userId, kind, subjectId) {
      const { conversation } = await core.conversations.begin(await core.asker(userId), { kind, subjectId })
      return conversation.id
    },
  }
}

async function remove({ kysely }: DatabaseHandle, { taskId, alertId }: Place): Promise<void> {
  await kysely.deleteFrom('task_sites').where('task_id', '=', taskId).execute()
  await kysely.deleteFrom('tasks').where('id', '=', taskId).execute()
  await kysely.deleteFrom('alerts').where('id', '=', alertId).execute()
  await kysely.deleteFrom('sites').where('id', '=', 3).execute()
}

await describeOnEveryDatabase('conversations about something', (databases) => {
  it('are one each, joined by whoever begins them, also on two cores at one moment', async () => {
    const core = await seeded(databases)
    const { conversations, north } = core
    const other = conversationCore(await databases.open({ url: core.url }))
    const ids = await Promise.all([
      core.begin('ann', 'site', '1'),
      other.conversations
        .begin(await core.asker('bob'), { kind: 'site', subjectId: '1' })
        .then(({ conversation }) => conversation.id),
      core.begin('cleo', 'site', '1'),
      core.begin('cleo', 'site', '1'),
    ])
    const id = subjectConversationId({ kind: 'site', id: '1' })
    expect([...new Set(ids)]).toEqual([id])
    const notices = await core.notices(id)
    expect(notices.map((notice) => notice.split(' ')[1]).toSorted()).toEqual(['created', 'joined', 'joined'])
    expect(await conversations.get('ann', id)).toMatchObject({
      ...{ kind: 'site', title: north.siteName, link: '/api/v1/sites/1', memberCount: 3, own: { role: 'member' } },
    })
    const task = await conversations.get('ann', await core.begin('ann', 'task', north.taskId))
    const link = `/api/v1/tasks/${north.taskId}`
    expect(task).toMatchObject({ title: 'REBOOT: about to begin at 1 device', link })
    const alert = await conversations.get('ann', await core.begin('ann', 'alert', north.alertId))
    const title = 'Hot: INV-north at Site of the north'
    expect(alert).toMatchObject({ title, link: `/api/v1/alerts/${north.alertId}` })
    const renamed = core.database.kysely.updateTable('sites').set({ name: 'The north' }).where('id', '=', 1)
    await renamed.execute()
    expect((await conversations.list('ann')).items.map((each) => each.title).toSorted()).toEqual([
      'Hot: INV-north at The north',
      'REBOOT: about to begin at 1 device',
      'The north',
    ])
  })

  it('are for who may see that, while they may', async () => {
    const core = await seeded(databases)
    const { conversations, membership, north, database } = core
    for (const [kind, subjectId] of [
      ['site', '1'],
      ['site', '3'],
      ['site', '01'],
      ['task', north.taskId],
      ['task', 'f'.repeat(24)],
      ['alert', north.alertId],
      ['alert', 'nonsense'],
    ] as const) {
      expect(await refusal(core.begin('dan', kind, subjectId))).toBe('INVALID_INPUT /subjectId')
    }
    const [site, task] = [await core.begin('ann', 'site', '1'), await core.begin('ann', 'task', north.taskId)]
    // Who asked for a task sees it wherever its devices are.
    expect(await core.begin('somebody', 'task', north.taskId)).toBe(task)
    const ann = await core.asker('ann')
    expect(await refusal(conversations.addMembers(ann, site, ['dan']))).toBe('INVALID_INPUT /userIds/0')
    // Known to her, but not at this site.
    const cleo = await core.asker('cleo')
    await core.begin('cleo', 'site', '1')
    expect(await refusal(conversations.addMembers(cleo, site, ['bob', 'dan']))).toBe('INVALID_INPUT /userIds/1')
    expect((await conversations.addMembers(cleo, site, ['bob', 'root'])).added).toEqual(['bob', 'root'])

    const group = await conversations.begin(ann, { kind: 'group', title: 'Crew' })
    await addPeople(database, { ann: viewer(2) })
    expect(await refusal(conversations.get('ann', site))).toBe('CONVERSATION_UNKNOWN')
    expect(await refusal(conversations.removeMember('ann', site, 'ann'))).toBe('CONVERSATION_UNKNOWN')
    expect((await conversations.list('ann')).items.map(({ id }) => id)).toEqual([group.conversation.id])
    const { items } = await conversations.members('bob', site)
    expect(items.filter(({ sees }) => !sees).map(({ userId }) => userId)).toEqual(['ann'])
    const { kysely } = database
    const seeing = await membership.visibleTo({ kind: 'site', id: '1' }, Object.keys(PEOPLE), kysely)
    expect([...seeing]).toEqual(['bob', 'cleo', 'root'])
    await addPeople(database, { ann: viewer(1) })
    const back = (await conversations.list('ann')).items.map(({ id }) => id)
    expect(back.toSorted()).toEqual([site, task, group.conversation.id].toSorted())
    expect(await conversations.removeMember('ann', site, 'ann')).toMatchObject({ userId: 'ann', role: 'member' })
  })

  it('page past those that may not be seen', async () => {
    const core = await seeded(databases)
    const { conversations, north } = core
    const cleo = await core.asker('cleo')
    const mine = [await core.begin('cleo', 'site', '2')]
    for (const [kind, id] of [
      ['site', '1'],
      ['task', north.taskId],
      ['alert', north.alertId],
    ] as const) {
      await core.begin('cleo', kind, id)
      mine.push((await conversations.begin(cleo, { kind: 'group', title: kind })).conversation.id)
    }
    await addPeople(core.database, { cleo: viewer(2) })
    const walked: string[] = []
    let cursor: string | undefined
    do {
      const page = await conversations.list('cleo', { limit: 2, cursor })
      walked.push(...page.items.map(({ id }) => id))
      cursor = page.next ?? undefined
    } while (cursor !== undefined)
    expect(walked.toSorted()).toEqual(mine.toSorted())
  })

  it('belong to nobody alone', async () => {
    const core = await seeded(databases)
    const { conversations } = core
    const site = await core.begin('ann', 'site', '1')
    await core.begin('bob', 'site', '1')
    const direct = await conversations.begin(await core.asker('ann'), { kind: 'direct', userId: 'bob' })
    const two = direct.conversation.id
    for (const id of [site, two]) {
      expect(await refusal(conversations.change('ann', id, { title: 'Mine' }))).toBe('INVALID_INPUT /title')
      expect(await refusal(conversations.removeMember('ann', id, 'bob'))).toBe('CONVERSATION_KIND')
      expect(await refusal(conversations.setRole('ann', id, 'ann', 'owner'))).toBe('CONVERSATION_KIND')
      expect(await conversations.change('bob', id, { archived: true })).toMatchObject({ archivedBy: 'bob' })
      expect(await conversations.change('ann', id, { archived: false })).toMatchObject({ archivedAtMs: null })
    }
    const ann = await core.asker('ann')
    expect(await refusal(conversations.addMembers(ann, two, ['cleo']))).toBe('CONVERSATION_KIND')
    expect(await refusal(conversations.removeMember('ann', two, 'ann'))).toBe('CONVERSATION_KIND')
  })

  it('say what they were about once that is gone, and stay with who could see it', async () => {
    const core = await seeded(databases)
    const { conversations, north, database } = core
    const ids: string[] = []
    const at = { created_at_ms: 1, updated_at_ms: 1 }
    await database.kysely
      .insertInto('sites')
      .values({ id: 3, name: 'The old one', ...at })
      .execute()
    await addPeople(database, { ann: viewer(1, 3) })
    for (const [kind, id] of [
      ['site', '3'],
      ['task', north.taskId],
      ['alert', north.alertId],
    ] as const) {
      ids.push(await core.begin('ann', kind, id))
    }
    await core.begin('somebody', 'task', north.taskId)
    await remove(database, north)
    const titles = ['site 3', `task ${north.taskId}`, `alert ${north.alertId}`]
    for (const [i, id] of ids.entries()) {
      expect(await conversations.get('ann', id)).toMatchObject({ title: titles[i], link: null })
    }
    expect((await conversations.list('somebody')).items.map(({ title }) => title)).toEqual([titles[1]])
    expect(await refusal(core.begin('bob', 'task', north.taskId))).toBe('INVALID_INPUT /subjectId')
    expect((await conversations.addMembers(await core.asker('ann'), ids[1] as string, ['bob'])).added).toEqual(['bob'])
    await addPeople(database, { ann: viewer(2) })
    expect((await conversations.list('ann')).items).toEqual([])
    // Of what never had a conversation nothing is known: it is for who sees every site.
    const membership = new Membership({ database, subjects: subjectSources(database) })
    const unknown = { kind: 'task', id: 'f'.repeat(24) } as const
    expect([...(await membership.visibleTo(unknown, Object.keys(PEOPLE), database.kysely))]).toEqual(['root'])
    const shown = await new Subjects(subjectSources(database)).of([unknown], database.kysely)
    expect([...shown.values()]).toEqual([{ title: `task ${unknown.id}`, link: null }])
  })
})

describe('the title of a task', () => {
  it('says how far it has come', () => {
    const none = Object.fromEntries(COMMAND_STATES.map((state) => [state, 0])) as TaskView['tally']
    const tally = { ...none, QUEUED: 2, SENT: 1, DELIVERED: 1, SUCCEEDED: 5, FAILED: 3 }
    const title = (state: TaskView['state']) => taskTitle({ commandType: 'SET_TOU', state, tally, deviceCount: 12 })
    expect(title('RUNNING')).toBe('SET_TOU: 8 of 12 devices done')
    expect(title('CANCELLING')).toBe('SET_TOU: being cancelled, 8 of 12 devices done')
    expect(title('COMPLETED')).toBe('SET_TOU: ended, 5 of 12 devices succeeded')
    expect(title('SCHEDULED')).toBe('SET_TOU: scheduled for 12 devices')
  })
})
