import { expect, it } from 'vitest'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { until } from '../../support/until.ts'
import {
  create,
  deviceSide,
  ended,
  registerMeters,
  startTaskCore,
  type TaskCore,
  taskCore,
} from './support/task-core.ts'

await describeOnEveryDatabase('tasks on several cores', (database) => {
  it('goes on with another core when the one that ran it dies', async () => {
    const { bus, url, core } = await startTaskCore(database, { settings: { leaseMs: 400 } })
    const serials = await registerMeters(core.registry, 60)
    const { taskId } = await create(core, { deviceIds: serials, options: { concurrency: 10 } })
    await until(() => core.orchestration.stats().issuedCommands === 10)
    await core.kill()
    const other = taskCore(await database.open({ url }), bus, { settings: { leaseMs: 400 } })
    await other.start()
    const devices = deviceSide(other, () => ({ state: 'SUCCEEDED' }))
    expect(await ended(other, taskId)).toMatchObject({ state: 'COMPLETED', tally: { SUCCEEDED: 60 } })
    expect([...devices.executed.values()].every((commands) => commands.length === 1)).toBe(true)
    expect(other.orchestration.stats().takenOver).toBe(1)
  })

  // SQLite has one writer, so there nobody can hold a lock while another one works.
  if (database.postgres !== null) {
    it('is taken over though the core that froze holds the lock of another task', async () => {
      const { bus, url, core } = await startTaskCore(database, { settings: { leaseMs: 400 } })
      const serials = await registerMeters(core.registry, 20)
      const frozen = await create(core, { deviceIds: serials.slice(0, 10), options: { concurrency: 5 } })
      await create(core, { deviceIds: serials.slice(10), options: { concurrency: 5 } })
      await until(() => core.orchestration.stats().issuedCommands === 10)
      await core.kill()
      const holder = await database.open({ url })
      const thaw = Promise.withResolvers<void>()
      const locked = Promise.withResolvers<void>()
      const holding = holder.transaction(async (transaction) => {
        await core.tasks.store.lock(frozen.taskId, transaction)
        locked.resolve()
        await thaw.promise
      })
      await locked.promise
      const other = taskCore(await database.open({ url }), bus, { settings: { leaseMs: 400 } })
      await other.start()
      await until(() => other.orchestration.stats().takenOver === 1)
      thaw.resolve()
      await holding
      await until(() => other.orchestration.stats().takenOver === 2)
    })
  }

  it('is given up by a core that stops, so that another one goes on at once', async () => {
    const { bus, url, core } = await startTaskCore(database, { settings: { leaseMs: 60_000 } })
    const serials = await registerMeters(core.registry, 20)
    const { taskId } = await create(core, { deviceIds: serials, options: { concurrency: 5 } })
    await until(() => core.orchestration.stats().issuedCommands === 5)
    const other = taskCore(await database.open({ url }), bus, { settings: { leaseMs: 60_000 } })
    await other.start()
    await core.stop()
    deviceSide(other, () => ({ state: 'SUCCEEDED' }))
    expect((await ended(other, taskId)).tally.SUCCEEDED).toBe(20)
  })

  it('runs on several cores at once, each device once', async () => {
    const { bus, url, core } = await startTaskCore(database)
    const others = [taskCore(await database.open({ url }), bus), taskCore(await database.open({ url }), bus)]
    for (const other of others) await other.start()
    const serials = await registerMeters(core.registry, 200)
    const devices = deviceSide(others[0] as TaskCore, () => ({ state: 'SUCCEEDED' }))
    const created = await Promise.all(
      [core, ...others, core, ...others].map((each, index) =>
        create(each, { deviceIds: serials.slice(0, 100 + index), options: { concurrency: 50 } }),
      ),
    )
    for (const { taskId, deviceCount } of created) {
      expect((await ended(core, taskId)).tally.SUCCEEDED).toBe(deviceCount)
    }
    const executed = [...devices.executed.values()].flat()
    expect(executed).toHaveLength(created.reduce((total, task) => total + task.deviceCount, 0))
    expect(new Set(executed).size).toBe(executed.length)
  })

  it('tells who follows what has changed since a time', async () => {
    const { core } = await startTaskCore(database)
    const serials = await registerMeters(core.registry, 3)
    deviceSide(core, () => ({ state: 'SUCCEEDED' }))
    const first = await create(core, { deviceIds: serials })
    await ended(core, first.taskId)
    await until(() => Date.now() > first.createdAtMs + 5)
    const second = await create(core, { deviceIds: serials })
    await ended(core, second.taskId)
    // By now everything of the first one was told.
    const sinceMs = (await core.tasks.get(first.taskId))?.updatedAtMs ?? 0
    const changed = await core.tasks.changedSince(sinceMs, 10, first.taskId)
    expect(changed.map((task) => [task.taskId, task.tally.SUCCEEDED])).toEqual([[second.taskId, 3]])
    expect((await core.tasks.changedSince(0, 1)).map((task) => task.taskId)).toEqual([first.taskId])
    // The last that happens to a task comes after its end; then there is nothing more.
    await until(async () => {
      const latest = await core.tasks.get(second.taskId)
      return (await core.tasks.changedSince(latest?.updatedAtMs ?? 0, 10, second.taskId)).length === 0
    })
  })

  it('brings a command to 10,000 devices in reasonable time', { timeout: 120_000 }, async () => {
    const { core } = await startTaskCore(database, { settings: { concurrency: 2_000 } })
    const serials = await registerMeters(core.registry, 10_000)
    const devices = deviceSide(core, () => ({ state: 'SUCCEEDED', payload: { dlmsResultCode: 0 } }))
    const begunMs = performance.now()
    const { taskId } = await create(core, { deviceIds: serials })
    const createdMs = performance.now()
    const task = await ended(core, taskId, 100_000)
    const totalMs = performance.now() - begunMs
    expect(task).toMatchObject({ state: 'COMPLETED', tally: { SUCCEEDED: 10_000 } })
    expect([...devices.executed.values()].every((commands) => commands.length === 1)).toBe(true)
    process.stdout.write(
      `10,000 devices: created in ${Math.round(createdMs - begunMs)} ms, ended after ${Math.round(totalMs)} ms, ` +
        `${core.orchestration.stats().turns} turns, ${Math.round(10_000_000 / totalMs)} devices/s\n`,
    )
    expect(totalMs).toBeLessThan(90_000)
  })
})
