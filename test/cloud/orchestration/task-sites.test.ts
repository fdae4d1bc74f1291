import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Outbox } from '../../../cloud/bus/outbox.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { Tasks } from '../../../cloud/orchestration/orchestration.ts'
import { TaskExpansion } from '../../../cloud/orchestration/task-expansion.ts'
import { purgeTasks } from '../../../cloud/orchestration/task-purge.ts'
import { Registry } from '../../../cloud/registry/registry.ts'
import type { SiteAccess, SiteScope } from '../../../cloud/registry/site-scope.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { TASK_SETTINGS } from './support/task-core.ts'

const REBOOT = { commandType: 'REBOOT', requestedBy: 'ann' }
const at = (...sites: number[]): SiteScope => new Set(sites)
const access = (sees: SiteScope, acts: SiteScope = sees): SiteAccess => ({ sees, acts })

/** Meters MTR-1, MTR-2 and MTR-3, one at each of the sites 1 to 3, an inverter at site 3, and MTR-X at the sites 1 and 2. */
async function start(database: DatabaseHandle) {
  const tools = { clock: systemClock, random: systemRandom, log: silentLogger }
  const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, ...tools })
  const devices = [1, 2, 3].map((siteId) => ({ siteId, serialNumber: `MTR-${siteId}` }))
  const others = [1, 2].map((siteId) => ({ siteId, serialNumber: 'MTR-X' }))
  await registry.load('gw', [...devices, ...others, { siteId: 3, serialNumber: 'INV-3' }])
  const common = { database, outbox: new Outbox({ database, ...tools }), registry, settings: TASK_SETTINGS, ...tools }
  const tasks = new Tasks(common)
  const expansion = new TaskExpansion({ ...common, store: tasks.store, onExpanded: () => undefined })
  return {
    tasks,
    /** As another program asks for it on the topic. */
    async onTopic(taskId: string, deviceIds: readonly string[], requestedBy = 'program') {
      const value = { ...REBOOT, taskId, deviceIds, requestedBy, commandParams: null, round: 1, options: {} }
      await expansion.handle([{ record: { timestampMs: -1 }, value: { ...value, siteId: undefined } }])
    },
    async seen(sites: SiteScope, askedBy = 'nobody') {
      return (await tasks.list({ sites, askedBy, limit: 500 })).items.map(({ taskId }) => taskId).toSorted()
    },
    async end(id: string) {
      await database.kysely.updateTable('task_devices').set({ state: 'FAILED' }).where('task_id', '=', id).execute()
      const ended = { state: 'COMPLETED', finished_at_ms: 1, executed_round: 1 }
      await database.kysely.updateTable('tasks').set(ended).where('id', '=', id).execute()
    },
  }
}

await describeOnEveryDatabase('the sites of tasks', (databases) => {
  test('are those of its devices, however these were chosen', async () => {
    const { tasks } = await start(await databases.open())
    const sitesOf = async (choice: object) => (await tasks.create({ ...REBOOT, ...choice })).siteIds
    expect(await sitesOf({ deviceIds: ['MTR-3', 'MTR-1', 'INV-3'] })).toEqual([1, 3])
    expect(await sitesOf({ deviceIds: ['MTR-X'], siteId: 2 })).toEqual([2])
    expect(await sitesOf({ siteId: 3 })).toEqual([3])
    expect(await sitesOf({ deviceType: 'METER' })).toEqual([1, 2, 3])
  })

  test('decide what may be asked for, before anything is stored', async () => {
    const database = await databases.open()
    const { tasks } = await start(database)
    const create = (choice: object, of: SiteAccess) => tasks.create({ ...REBOOT, ...choice }, undefined, of)
    const one = access(at(1))
    const unknown = { problems: [{ pointer: '/device_ids/1', value: 'MTR-2' }] }
    await expect(create({ deviceIds: ['MTR-1', 'MTR-2'] }, one)).rejects.toMatchObject(unknown)
    await expect(create({ deviceIds: ['MTR-1', 'MTR-2'] }, access(at(1, 2), at(1)))).rejects.toMatchObject({
      code: 'ROLE_MISSING',
      siteIds: [2],
    })
    for (const choice of [{ siteId: 2 }, { deviceType: 'SOLAR_INVERTER' }]) {
      await expect(create(choice, one)).rejects.toMatchObject({ code: 'TASK_REFUSED' })
    }
    await expect(create({ deviceType: 'METER' }, access('all', at(1)))).rejects.toMatchObject({ siteIds: [2, 3] })
    // The other one is told to name its site; to this one there is only one.
    await expect(create({ deviceIds: ['MTR-X'] }, access(at(1, 2)))).rejects.toMatchObject({ code: 'TASK_REFUSED' })
    await expect(tasks.check({ ...REBOOT, deviceType: 'METER' }, one)).resolves.toEqual([1])
    expect((await tasks.list()).items).toEqual([])
    expect((await create({ deviceIds: ['MTR-X'] }, one)).siteIds).toEqual([1])
    expect(await create({ deviceType: 'METER' }, one)).toMatchObject({ siteIds: [1], deviceCount: 2 })
  })

  test('are told of tasks from the topic as well, also of serial numbers that several sites have', async () => {
    const { tasks, onTopic, seen } = await start(await databases.open())
    const [plain, twin, lost] = ['a', 'b', 'c'].map((digit) => digit.repeat(24)) as [string, string, string]
    await onTopic(plain, ['MTR-1', 'nobody'])
    await onTopic(twin, ['MTR-X'])
    await onTopic(lost, ['nobody'], 'ann')
    expect((await tasks.get(plain))?.siteIds).toEqual([1])
    // Why it has no device names both sites.
    expect((await tasks.get(twin))?.siteIds).toEqual([1, 2])
    expect(await seen(at(1))).toEqual([plain])
    expect(await seen(at(1, 2))).toEqual([plain, twin])
    expect(await seen(at(), 'ann')).toEqual([lost])
    expect(await seen('all')).toEqual([plain, twin, lost])
  })

  test('grow with what a retry finds, which is never beyond what its asker may command', async () => {
    const { tasks, onTopic, end } = await start(await databases.open())
    const id = 'd'.repeat(24)
    await onTopic(id, ['MTR-1', 'MTR-X'])
    await end(id)
    const retried = await tasks.retry(id, undefined, access(at(1, 2), at(1)))
    expect(retried).toMatchObject({ round: 2, siteIds: [1, 2] })
    const devices = async () => (await tasks.devices(id))?.items.map(({ siteId }) => siteId)
    expect(await devices()).toEqual([1, null])
    await end(id)
    await tasks.retry(id, undefined, access(at(1, 2, 3), at(1)))
    expect(await devices()).toEqual([1, null])
    await end(id)
    // To who sees one of the two sites only there is one such device.
    await tasks.retry(id, undefined, access(at(1)))
    expect(await devices()).toEqual([1, 1])
  })

  test('go with it when it is old', async () => {
    const database = await databases.open()
    const { tasks, end } = await start(database)
    const { taskId } = await tasks.create({ ...REBOOT, deviceIds: ['MTR-1'] })
    await end(taskId)
    expect(await purgeTasks(database.kysely, Number.MAX_SAFE_INTEGER, new AbortController().signal)).toBe(1)
    expect(await database.kysely.selectFrom('task_sites').selectAll().execute()).toEqual([])
  })

  test('decide who sees it, page by page, whatever tasks there are', async () => {
    const { tasks, seen } = await start(await databases.open())
    const made: { id: string; sites: readonly number[]; by: string }[] = []
    const choice = fc.subarray([1, 2, 3], { minLength: 1 })
    for (const [i, sites] of fc.sample(choice, { numRuns: 12, seed: 7 }).entries()) {
      const by = i % 4 === 0 ? 'ann' : 'bob'
      const { taskId } = await tasks.create({
        ...{ ...REBOOT, requestedBy: by },
        deviceIds: sites.map((site) => `MTR-${site}`),
      })
      made.push({ id: taskId, sites, by })
    }
    for (const sites of [[], [1], [2, 3], [1, 2, 3]]) {
      for (const askedBy of ['ann', 'nobody']) {
        const expected = made
          .filter((task) => task.by === askedBy || task.sites.every((site) => sites.includes(site)))
          .map(({ id }) => id)
        expect(await seen(at(...sites), askedBy)).toEqual(expected.toSorted())
        const paged: string[] = []
        for (let cursor: string | null | undefined; cursor !== null; ) {
          const page = await tasks.list({ sites: at(...sites), askedBy, limit: 2, cursor })
          paged.push(...page.items.map(({ taskId }) => taskId))
          cursor = page.next
        }
        expect(paged.toSorted()).toEqual(expected.toSorted())
      }
    }
  })
})
