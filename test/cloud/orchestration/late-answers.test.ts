import { expect, it } from 'vitest'
import { ORCHESTRATOR_RESPONSES } from '../../../cloud/bus/catalogue.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
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
} from './support/task-core.ts'

await describeOnEveryDatabase('a device of a task that answers too late', (database) => {
  const onlyDevice = async (core: TaskCore, id: string) => (await core.tasks.devices(id, {}))?.items[0]

  it('is shown with it beside the result, which stays, and a late success is not tried again', async () => {
    const { bus, core } = await startTaskCore(database)
    const [serialNumber = ''] = await registerMeters(core.registry, 1)
    const reader = await readTopics(bus, [ORCHESTRATOR_RESPONSES])
    const { executed } = deviceSide(core, () => ({ state: 'TIMED_OUT', reason: 'no answer' }))
    const { taskId } = await create(core, { deviceIds: [serialNumber] })
    expect((await ended(core, taskId)).tally.TIMED_OUT).toBe(1)
    const [commandId = ''] = executed.get(serialNumber) ?? []
    const late = reportOf(
      commandId,
      { siteId: 1, serialNumber },
      { state: 'SUCCEEDED', payload: { dlmsResultCode: 0 } },
    )
    await core.database.transaction((transaction) => core.deviceCommands.record([late], transaction))
    expect(await onlyDevice(core, taskId)).toMatchObject({
      state: 'TIMED_OUT',
      reason: 'no answer',
      response: null,
      late: { state: 'SUCCEEDED', response: { dlmsResultCode: 0 } },
    })
    await until(() => responses(reader).length >= 1)
    expect(responses(reader).map((response) => response.status)).toEqual(['TIMEOUT'])
    await expect(core.tasks.retry(taskId)).rejects.toThrow('nothing to try again')
  })

  it('has succeeded when it waits for another attempt, and gets none', async () => {
    const { bus, core } = await startTaskCore(database)
    const [serialNumber = ''] = await registerMeters(core.registry, 1)
    const reader = await readTopics(bus, [ORCHESTRATOR_RESPONSES])
    const { executed } = deviceSide(core, () => ({ state: 'TIMED_OUT', reason: 'no answer' }))
    const { taskId } = await create(core, {
      deviceIds: [serialNumber],
      options: { retries: { max: 1, backoff_ms: 3_600_000, max_backoff_ms: 3_600_000 } },
    })
    await until(async () => (await onlyDevice(core, taskId))?.reason === 'attempt 1: TIMED_OUT, no answer')
    const [commandId = ''] = executed.get(serialNumber) ?? []
    const late = reportOf(
      commandId,
      { siteId: 1, serialNumber },
      { state: 'SUCCEEDED', payload: { dlmsResultCode: 0 } },
    )
    await core.database.transaction((transaction) => core.deviceCommands.record([late], transaction))
    core.deviceCommands.nudge()
    expect(await ended(core, taskId)).toMatchObject({ state: 'COMPLETED', tally: { SUCCEEDED: 1 } })
    expect(executed.get(serialNumber)).toHaveLength(1)
    await until(() => responses(reader).length >= 1)
    expect(responses(reader)).toMatchObject([
      { command_id: commandId, status: 'SUCCESS', responsePayload: { dlmsResultCode: 0 } },
    ])
  })
})
