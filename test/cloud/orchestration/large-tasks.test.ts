import { expect, it } from 'vitest'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { embeddedBus } from '../../support/outbox-relay.ts'
import { create, registerMeters, taskCore } from './support/task-core.ts'

await describeOnEveryDatabase('a task of many devices', (database) => {
  it('leaves turns to other work while it is stored, and while it is opened again', async () => {
    const core = taskCore(await database.open(), await embeddedBus())
    const serials = await registerMeters(core.registry, 10_000)
    let turns = 0
    let counting = true
    const count = (): void => {
      turns++
      if (counting) setImmediate(count)
    }
    count()
    const { taskId } = await create(core, { deviceIds: serials })
    expect(turns).toBeGreaterThan(15)
    const { kysely } = core.database
    await kysely.updateTable('task_devices').set({ state: 'FAILED', finished_at_ms: 1 }).execute()
    await kysely.updateTable('tasks').set({ state: 'COMPLETED', finished_at_ms: 1 }).execute()
    turns = 0
    const again = await core.tasks.retry(taskId)
    expect(turns).toBeGreaterThan(4)
    expect(again).toMatchObject({ round: 2, tally: { QUEUED: 10_000 } })
    counting = false
  })
  it('is listed with its tally among many others', async () => {
    const core = taskCore(await database.open(), await embeddedBus())
    const serials = await registerMeters(core.registry, 25)
    for (let count = 1; count <= 25; count++) await create(core, { deviceIds: serials.slice(0, count) })
    const { items } = await core.tasks.list({ limit: 100 })
    expect(items.map((task) => task.tally.QUEUED).sort((a, b) => a - b)).toEqual(serials.map((_, index) => index + 1))
    expect(items.every((task) => task.tally.QUEUED === task.deviceCount)).toBe(true)
  })
})
