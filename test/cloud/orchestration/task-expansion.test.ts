import { expect, it } from 'vitest'
import { TaskExpansion } from '../../../cloud/orchestration/task-expansion.ts'
import { systemClock } from '../../../shared/clock.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { embeddedBus } from '../../support/outbox-relay.ts'
import { registerMeters, TASK_SETTINGS, taskCore } from './support/task-core.ts'

await describeOnEveryDatabase('the expansion of task.requested', (database) => {
  it.each([
    ['a record without a time', -1],
    ['a record from the future', Date.now() + 3_600_000],
  ])('counts %s from when it came', async (_, timestampMs) => {
    const core = taskCore(await database.open(), await embeddedBus())
    const deviceIds = await registerMeters(core.registry, 2)
    const { store } = core.tasks
    const expansion = new TaskExpansion({
      database: core.database,
      store,
      registry: core.registry,
      settings: TASK_SETTINGS,
      clock: systemClock,
      onExpanded: () => undefined,
    })
    const taskId = '689dce4358cba50614cee678'
    const asked = { commandType: 'REBOOT', commandParams: null, requestedBy: 'somebody', siteId: undefined }
    const beganMs = Date.now()
    await expansion.handle([{ record: { timestampMs }, value: { ...asked, taskId, deviceIds, round: 1, options: {} } }])
    const task = await store.get(taskId)
    expect(task).toMatchObject({ state: 'RUNNING', source: 'topic', deviceCount: 2 })
    expect(task?.startAtMs).toBeGreaterThanOrEqual(beganMs)
    expect(task?.startAtMs).toBeLessThanOrEqual(Date.now())
    expect(task?.expiresAtMs).toBe((task?.startAtMs ?? 0) + TASK_SETTINGS.expiryMs)
  })

  it('tells once of a task that another program asked for, in the transaction that stores it', async () => {
    const core = taskCore(await database.open(), await embeddedBus())
    const deviceIds = await registerMeters(core.registry, 2)
    const told: string[] = []
    let fails = true
    const expansion = new TaskExpansion({
      database: core.database,
      store: core.tasks.store,
      registry: core.registry,
      settings: TASK_SETTINGS,
      clock: systemClock,
      onExpanded: () => undefined,
      onForeign: async (requests, transaction) => {
        await transaction.selectFrom('tasks').select('id').execute()
        if (fails) throw new Error('no room')
        told.push(...requests.map((each) => `${each.requestedBy} ${each.taskId} ${each.deviceIds.length}`))
      },
    })
    const asked = { commandType: 'REBOOT', commandParams: null, requestedBy: 'somebody', siteId: undefined }
    const value = { ...asked, taskId: '689dce4358cba50614cee678', deviceIds, round: 1, options: {} }
    const handle = () => expansion.handle([{ record: { timestampMs: Date.now() }, value }])
    await expect(handle()).rejects.toThrow('no room')
    expect(await core.tasks.store.get(value.taskId)).toBeNull()
    fails = false
    await handle()
    await handle()
    expect(told).toEqual(['somebody 689dce4358cba50614cee678 2'])
  })
})
