import { expect, it } from 'vitest'
import { ORCHESTRATOR_RESPONSES, TASK_REQUESTED } from '../../../cloud/bus/catalogue.ts'
import type { TaskView } from '../../../cloud/orchestration/orchestration.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { embeddedBus } from '../../support/outbox-relay.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'
import {
  create,
  deviceSide,
  ended,
  registerMeters,
  reportOf,
  responses,
  startTaskCore,
  type TaskCore,
  taskCore,
} from './support/task-core.ts'

await describeOnEveryDatabase('tasks over many devices', (database) => {
  const allDevices = async (core: TaskCore, id: string) => (await core.tasks.devices(id, { limit: 500 }))?.items ?? []
  const sum = (task: TaskView) => Object.values(task.tally).reduce((total, count) => total + count, 0)

  it('goes from the request to every device and back to the tally', async () => {
    const { bus, core } = await startTaskCore(database)
    const serials = await registerMeters(core.registry, 300)
    const reader = await readTopics(bus, [TASK_REQUESTED, ORCHESTRATOR_RESPONSES])
    const devices = deviceSide(core, ({ serialNumber }) =>
      serialNumber.endsWith('7')
        ? { state: 'FAILED', reason: 'the profile is unknown' }
        : { state: 'SUCCEEDED', payload: { dlmsResultCode: 0, deviceTime: '2026-01-01T00:00:00Z' } },
    )
    const created = await create(core, { deviceIds: serials })
    expect(created).toMatchObject({ state: 'REQUESTED', round: 1, source: 'api', deviceCount: 300 })
    expect(created.taskId).toMatch(/^[0-9a-f]{24}$/)
    expect(created.tally.QUEUED).toBe(300)

    const task = await ended(core, created.taskId)
    expect(task).toMatchObject({ state: 'COMPLETED', tally: { SUCCEEDED: 270, FAILED: 30 } })
    expect(sum(task)).toBe(300)
    expect([...devices.executed.values()].every((commands) => commands.length === 1)).toBe(true)

    const [request] = reader.values(TASK_REQUESTED)
    expect(Object.keys(request as object).slice(0, 4)).toEqual([
      'command_type',
      'command_params',
      'device_ids',
      'requested_by',
    ])
    expect(request).toMatchObject({
      command_type: 'SET_TOU',
      command_params: { tou_profile_id: 'TOU-2025-TEST' },
      device_ids: serials,
      requested_by: 'userB',
      round: 1,
      site_id: 1,
    })
    expect(reader.records.find((record) => record.topic === TASK_REQUESTED)?.key).toBe(created.taskId)
    await until(() => responses(reader).length >= 300)
    expect(responses(reader)).toHaveLength(300)
    const record = reader.records.find((each) => each.topic === ORCHESTRATOR_RESPONSES && each.key === 'MTR-00007')
    const response = JSON.parse(String(record?.value))
    expect(Object.keys(response)).toEqual([
      'taskId',
      'command_id',
      'deviceId',
      'status',
      'receivedAt',
      'responsePayload',
      'attempt',
    ])
    expect(response).toMatchObject({ taskId: created.taskId, deviceId: 'MTR-00007', status: 'FAILED', attempt: 1 })
    expect(response.responsePayload).toEqual({ reason: 'the profile is unknown' })
    expect(response.command_id).toMatch(/^[0-9a-f]{24}$/)
    const failed = await core.tasks.devices(created.taskId, { state: 'FAILED' })
    expect(failed?.items[0]).toMatchObject({
      serialNumber: 'MTR-00007',
      siteId: 1,
      attempt: 1,
      commandId: response.command_id,
      reason: 'the profile is unknown',
    })
  })

  it('has no more devices at work than its concurrency says, and uses a freed slot at once', async () => {
    // So seldom would it look by itself.
    const { core } = await startTaskCore(database, { pollMs: 60_000 })
    const serials = await registerMeters(core.registry, 20)
    deviceSide(core, () => null)
    const { taskId } = await create(core, { deviceIds: serials, options: { concurrency: 4 } })
    for (let answered = 0; answered < 20; ) {
      const atWork = await until(async () => {
        const page = await core.tasks.devices(taskId, { state: 'DELIVERED' })
        return page?.items.length === Math.min(4, 20 - answered) ? page.items : null
      })
      expect(core.orchestration.stats().issuedCommands).toBe(Math.min(20, answered + 4))
      const freed = atWork.slice(0, 1 + (answered % 3))
      const reports = freed.map(({ commandId, serialNumber }) =>
        reportOf(commandId as string, { siteId: 1, serialNumber }, { state: 'SUCCEEDED' }),
      )
      await core.database.transaction((transaction) => core.deviceCommands.record(reports, transaction))
      core.deviceCommands.nudge()
      answered += freed.length
      await until(async () => (await core.tasks.get(taskId))?.tally.SUCCEEDED === answered)
    }
    expect((await ended(core, taskId)).tally.SUCCEEDED).toBe(20)
  })

  it('tries again what failed, later each time, and answers once', async () => {
    const { bus, core } = await startTaskCore(database)
    const serials = await registerMeters(core.registry, 10)
    const reader = await readTopics(bus, [ORCHESTRATOR_RESPONSES])
    const devices = deviceSide(core, ({ serialNumber, before }) => {
      if (serialNumber === 'MTR-00009') return { state: 'REJECTED', reason: 'never' }
      return { state: before < 2 ? 'FAILED' : 'SUCCEEDED' }
    })
    const { taskId } = await create(core, {
      deviceIds: serials,
      options: { retries: { max: 3, backoff_ms: 20, max_backoff_ms: 50 } },
    })
    const task = await ended(core, taskId)
    expect(task.tally).toMatchObject({ SUCCEEDED: 9, REJECTED: 1 })
    expect(devices.executed.get('MTR-00000')).toHaveLength(3)
    expect(devices.executed.get('MTR-00009')).toHaveLength(1)
    const shown = await allDevices(core, taskId)
    expect(shown.map((device) => device.attempt)).toEqual([3, 3, 3, 3, 3, 3, 3, 3, 3, 1])
    await until(() => responses(reader).length >= 10)
    expect(
      responses(reader)
        .map((response) => response.attempt)
        .sort(),
    ).toEqual([1, 3, 3, 3, 3, 3, 3, 3, 3, 3])
  })

  it('stops at the abort threshold', async () => {
    const { core } = await startTaskCore(database)
    const serials = await registerMeters(core.registry, 100)
    const devices = deviceSide(core, () => ({ state: 'FAILED' }))
    const { taskId } = await create(core, {
      deviceIds: serials,
      options: { concurrency: 5, abort: [{ on: 'FAILED', percent: 50, min_results: 10 }] },
    })
    const task = await ended(core, taskId)
    expect(task.state).toBe('ABORTED')
    expect(task.reason).toMatch(/^\d+ of \d+ devices ended as FAILED, which reaches the threshold of 50%$/)
    expect(devices.executed.size).toBeGreaterThanOrEqual(10)
    expect(devices.executed.size).toBeLessThanOrEqual(20)
    expect(task.tally.CANCELLED).toBe(100 - devices.executed.size)
    const cancelled = await core.tasks.devices(taskId, { state: 'CANCELLED' })
    expect(cancelled?.items[0]).toMatchObject({ reason: 'the task was aborted', attempt: 0 })
  })

  it('is cancelled in the middle: who has it answers, the others are left alone', async () => {
    const { bus, core } = await startTaskCore(database)
    const serials = await registerMeters(core.registry, 40)
    const reader = await readTopics(bus, [ORCHESTRATOR_RESPONSES])
    // The first ten have it and are slow; of the second ten nobody takes it.
    deviceSide(core, () => null)
    const { taskId } = await create(core, { deviceIds: serials, options: { concurrency: 10 } })
    await until(async () => (await core.tasks.get(taskId))?.tally.DELIVERED === 10)
    const cancelling = await core.tasks.cancel(taskId, 'wrong profile')
    expect(cancelling).toMatchObject({ state: 'CANCELLING', reason: 'wrong profile' })
    await until(async () => (await core.tasks.get(taskId))?.tally.CANCELLED === 30)
    expect((await core.tasks.get(taskId))?.state).toBe('CANCELLING')
    await expect(core.tasks.cancel(taskId, null)).rejects.toMatchObject({ code: 'TASK_STATE_CONFLICT' })

    const having = await core.tasks.devices(taskId, { state: 'DELIVERED' })
    const reports = (having?.items ?? []).map((device) =>
      reportOf(device.commandId as string, { siteId: 1, serialNumber: device.serialNumber }, { state: 'SUCCEEDED' }),
    )
    await core.database.transaction((transaction) => core.deviceCommands.record(reports, transaction))
    core.deviceCommands.nudge()
    const task = await ended(core, taskId)
    expect(task).toMatchObject({ state: 'CANCELLED', tally: { SUCCEEDED: 10, CANCELLED: 30 } })
    await until(() => responses(reader).length >= 40)
    expect(new Set(responses(reader).map((response) => response.command_id)).size).toBe(40)
    expect(responses(reader).filter((response) => response.status === 'CANCELLED')).toHaveLength(30)
  })

  it('takes back what no gateway has yet', async () => {
    const { core } = await startTaskCore(database)
    const serials = await registerMeters(core.registry, 20)
    const { taskId } = await create(core, { deviceIds: serials, options: { concurrency: 10 } })
    await until(() => core.orchestration.stats().issuedCommands === 10)
    await core.tasks.cancel(taskId, null)
    const task = await ended(core, taskId)
    expect(task).toMatchObject({ state: 'CANCELLED', tally: { CANCELLED: 20 } })
    const open = await core.database.kysely.selectFrom('device_commands').selectAll().execute()
    expect(open).toHaveLength(10)
    expect(open.every((command) => command.state === 'CANCELLED')).toBe(true)
  })

  it('is opened again for those that failed, and for them alone', async () => {
    const { bus, core } = await startTaskCore(database)
    const serials = await registerMeters(core.registry, 20)
    const reader = await readTopics(bus, [TASK_REQUESTED, ORCHESTRATOR_RESPONSES])
    let mended = false
    const devices = deviceSide(core, ({ serialNumber }) => ({
      state: !mended && serialNumber >= 'MTR-00015' ? 'FAILED' : 'SUCCEEDED',
    }))
    const { taskId, expiresAtMs, startAtMs } = await create(core, { deviceIds: serials })
    await expect(core.tasks.retry(taskId)).rejects.toMatchObject({ code: 'TASK_STATE_CONFLICT' })
    expect((await ended(core, taskId)).tally).toMatchObject({ SUCCEEDED: 15, FAILED: 5 })
    mended = true
    const again = await core.tasks.retry(taskId)
    expect(again).toMatchObject({ round: 2, finishedAtMs: null, tally: { SUCCEEDED: 15, QUEUED: 5 } })
    expect((again?.expiresAtMs ?? 0) - (again?.startAtMs ?? 0)).toBe(expiresAtMs - startAtMs)
    expect(await ended(core, taskId)).toMatchObject({ state: 'COMPLETED', round: 2, tally: { SUCCEEDED: 20 } })
    expect(
      reader.values(TASK_REQUESTED).map(({ round, device_ids }) => [round, (device_ids as string[]).length]),
    ).toEqual([
      [1, 20],
      [2, 5],
    ])
    await until(() => responses(reader).length >= 25)
    expect(devices.executed.get('MTR-00000')).toHaveLength(1)
    expect(devices.executed.get('MTR-00019')).toHaveLength(2)
    await expect(core.tasks.retry(taskId)).rejects.toThrow('no device failed')
  })

  it('starts when it is scheduled', async () => {
    const { core } = await startTaskCore(database)
    const serials = await registerMeters(core.registry, 3)
    deviceSide(core, () => ({ state: 'SUCCEEDED' }))
    const startAtMs = Date.now() + 700
    const created = await create(core, {
      deviceIds: serials,
      options: { start_at: new Date(startAtMs).toISOString() },
    })
    expect(created.state).toBe('SCHEDULED')
    const task = await ended(core, created.taskId)
    expect(task.startedAtMs).toBeGreaterThanOrEqual(startAtMs)
    expect(task.tally.SUCCEEDED).toBe(3)
  })

  it('is cancelled before it starts, and then nobody hears of it but those who wait for the responses', async () => {
    const { bus, core } = await startTaskCore(database)
    const serials = await registerMeters(core.registry, 3)
    const reader = await readTopics(bus, [TASK_REQUESTED, ORCHESTRATOR_RESPONSES])
    const start_at = new Date(Date.now() + 3_600_000).toISOString()
    const { taskId } = await create(core, { deviceIds: serials, options: { start_at } })
    await core.tasks.cancel(taskId, null)
    expect(await ended(core, taskId)).toMatchObject({ state: 'CANCELLED', startedAtMs: null, tally: { CANCELLED: 3 } })
    await until(() => responses(reader).length >= 3)
    expect(reader.values(TASK_REQUESTED)).toEqual([])
  })

  it('ends what waits when it expires', async () => {
    const { core } = await startTaskCore(database)
    const serials = await registerMeters(core.registry, 5)
    deviceSide(core, () => ({ state: 'FAILED' }))
    const { taskId } = await create(core, {
      deviceIds: serials,
      options: { expires_in_ms: 1_000, rate: { per_minute: 60 }, retries: { max: 0 } },
    })
    const task = await ended(core, taskId)
    expect(task.state).toBe('COMPLETED')
    expect(task.tally.EXPIRED).toBeGreaterThanOrEqual(3)
    const expired = await core.tasks.devices(taskId, { state: 'EXPIRED' })
    expect(expired?.items[0]).toMatchObject({ reason: 'the task expired', attempt: 0 })
  })
  it('expires also when its request never comes back', async () => {
    const core = taskCore(await database.open(), await embeddedBus())
    const serials = await registerMeters(core.registry, 3)
    // Without the relay nobody publishes anything until later.
    await core.orchestration.start()
    const { taskId } = await create(core, { deviceIds: serials, options: { expires_in_ms: 1_000 } })
    await until(() => core.orchestration.stats().endedDevices === 3)
    await core.relay.start()
    expect(await ended(core, taskId)).toMatchObject({ state: 'COMPLETED', startedAtMs: null, tally: { EXPIRED: 3 } })
    expect(core.orchestration.stats().issuedCommands).toBe(0)
  })
})
