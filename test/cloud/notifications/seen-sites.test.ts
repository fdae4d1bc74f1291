import { expect, test } from 'vitest'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { SUBSCRIBERS } from '../../../cloud/notifications/notifications.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { deviceNotice, named, notificationCore, someNotice } from '../../support/notification-core.ts'
import { until } from '../../support/until.ts'

const times = { created_at_ms: 1, updated_at_ms: 1 }

/** @param grants by user, the sites; 0 for all. */
async function addUsers(database: DatabaseHandle, grants: Readonly<Record<string, readonly number[]>>): Promise<void> {
  for (const [id, sites] of Object.entries(grants)) {
    const status = id === 'gone' ? 'disabled' : 'active'
    await database.kysely
      .insertInto('users')
      .values({ id, status, name: null, email: null, password_hash: null, oidc_subject: null, ...times })
      .execute()
    for (const site_id of sites) {
      const role = id === 'boss' ? 'admin' : 'viewer'
      await database.kysely.insertInto('user_grants').values({ user_id: id, role, site_id }).execute()
    }
  }
}

await describeOnEveryDatabase('what people are told', (databases) => {
  const GRANTS = { boss: [0], both: [1, 2], one: [1], two: [2], nothing: [], gone: [0] }
  const everybody = [...Object.keys(GRANTS), 'unknown', 'api-key:0123456789abcdef']

  async function start(settings: Parameters<typeof notificationCore>[2] = {}) {
    const database = await databases.open()
    await addUsers(database, GRANTS)
    const core = notificationCore(database, null, settings)
    for (const userId of everybody) await core.notifications.preferences.change(userId, {})
    const rows = () => database.kysely.selectFrom('notifications').selectAll().orderBy('user_id').execute()
    return {
      ...core,
      rows,
      told: async (title: string) => (await rows()).filter((row) => row.title === title).map((row) => row.user_id),
    }
  }

  test('ends at the sites that they may see, for subscribers and for those who are named', async () => {
    const { tell, told } = await start()
    const subscribed = { recipients: SUBSCRIBERS }
    await tell(someNotice({ ...subscribed, siteIds: [1], title: 'at 1' }))
    expect(await told('at 1')).toEqual(['boss', 'both', 'one', 'unknown'])
    await tell(someNotice({ ...subscribed, siteIds: [3], title: 'at 3' }))
    expect(await told('at 3')).toEqual(['boss', 'unknown'])
    await tell(someNotice({ ...subscribed, siteIds: null, title: 'nowhere' }))
    expect(await told('nowhere')).toEqual(['boss', 'unknown'])
    const recipients = named(...everybody)
    await tell(someNotice({ recipients, severity: 'CRITICAL', siteIds: [2], title: 'named at 2' }))
    expect(await told('named at 2')).toEqual(['boss', 'both', 'two', 'unknown'])
    await tell(someNotice({ recipients: named('nothing'), siteIds: null, title: 'your own task' }))
    expect(await told('your own task')).toEqual(['nothing'])
  })

  test('follows what they lose and what they are given', async () => {
    const { database, tell, told } = await start()
    await database.kysely.deleteFrom('user_grants').where('user_id', '=', 'one').execute()
    await database.kysely
      .insertInto('user_grants')
      .values({ user_id: 'nothing', role: 'auditor', site_id: 1 })
      .execute()
    await tell(someNotice({ recipients: SUBSCRIBERS, siteIds: [1], title: 'later' }))
    expect(await told('later')).toEqual(['boss', 'both', 'nothing', 'unknown'])
  })

  test('names no device of a site that they may not see when many are told together', async () => {
    const { notifications, tell, rows } = await start({ burstNotices: 0, burstWindowMs: 1 })
    await tell(
      deviceNotice('NORTH-1', 'OFFLINE', { siteIds: [1] }),
      deviceNotice('SOUTH-1', 'OFFLINE', { siteIds: [2] }),
    )
    await notifications.start()
    await until(async () => (await rows()).length === 5)
    const byUser = new Map((await rows()).map((row) => [row.user_id, row]))
    for (const user of ['boss', 'both', 'unknown']) {
      expect(byUser.get(user)?.content).toContain('NORTH-1 OFFLINE, SOUTH-1 OFFLINE')
    }
    expect(byUser.get('one')).toMatchObject({
      title: 'Several devices changed their status',
      content: 'Several devices changed their status, at site 1 among others.',
      related_entity_id: null,
    })
    expect(byUser.get('two')?.content).toContain('at site 2 among others')
  })

  test('says of a gateway of several sites no more than that it is away, to who sees one of them', async () => {
    const { tell, rows } = await start()
    const toldInPart = { title: 'gw-1 is offline', content: 'It is away.' }
    const whole = { title: 'gw-1 is offline', content: 'Behind it are 12 devices at sites 1, 2.' }
    await tell(someNotice({ ...whole, toldInPart, recipients: SUBSCRIBERS, siteIds: [1, 2], relatedEntityId: 'gw-1' }))
    const contents = new Map((await rows()).map((row) => [row.user_id, row.content]))
    expect([contents.get('both'), contents.get('one')]).toEqual([whole.content, toldInPart.content])
    expect((await rows()).map((row) => row.related_entity_id)).toEqual(Array(5).fill('gw-1'))
  })

  test('is the same when they are so many that they are told in steps', async () => {
    const { database, notifications, tell, rows } = await start()
    const many = Array.from({ length: 2_100 }, (_, i) => ({
      user_id: `u${i}`,
      preferences: '{"subscribed":true}',
      created_at_ms: 1,
      updated_at_ms: 1,
    }))
    await database.kysely.insertInto('notification_preferences').values(many).execute()
    await addUsers(database, { u7: [], u8: [1] })
    await tell(someNotice({ recipients: SUBSCRIBERS, siteIds: [1] }))
    await until(async () => (await rows()).length === 2_099 + 4)
    await notifications.stop(AbortSignal.timeout(2_000))
    const told = new Set((await rows()).map((row) => row.user_id))
    expect([told.has('u7'), told.has('u8'), told.has('two')]).toEqual([false, true, false])
  })
})
