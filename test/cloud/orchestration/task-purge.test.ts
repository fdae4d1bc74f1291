import { expect, it } from 'vitest'
import { purgeTasks } from '../../../cloud/orchestration/task-purge.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { create, deviceSide, ended, registerMeters, startTaskCore } from './support/task-core.ts'

const never = new AbortController().signal

await describeOnEveryDatabase('old tasks', (database) => {
  it('are removed with their devices, and those that have not ended are kept', async () => {
    const { core } = await startTaskCore(database)
    const serials = await registerMeters(core.registry, 30)
    deviceSide(core, ({ serialNumber }) => (serialNumber === 'MTR-00029' ? null : { state: 'SUCCEEDED' }))
    const old = await create(core, { deviceIds: serials.slice(0, 20) })
    const open = await create(core, { deviceIds: serials.slice(20) })
    await ended(core, old.taskId)
    const { kysely } = core.database
    expect(await purgeTasks(kysely, 1_000, never)).toBe(0)
    let turns = 0
    const count = (): void => {
      if (turns++ < 1_000) setImmediate(count)
    }
    count()
    expect(await purgeTasks(kysely, Date.now() + 1, never)).toBe(1)
    // Other work has its turn in between, however much there is to remove.
    expect(turns).toBeGreaterThan(1)
    expect(await core.tasks.get(old.taskId)).toBeNull()
    expect((await core.tasks.get(open.taskId))?.deviceCount).toBe(10)
    const left = await kysely.selectFrom('task_devices').select('task_id').distinct().execute()
    expect(left).toEqual([{ task_id: open.taskId }])
  })
})
