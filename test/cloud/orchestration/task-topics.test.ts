import { expect, it } from 'vitest'
import { deadLetterTopicOf, ORCHESTRATOR_RESPONSES, TASK_REQUESTED } from '../../../cloud/bus/catalogue.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'
import { create, deviceSide, ended, registerMeters, responses, startTaskCore } from './support/task-core.ts'

const FOREIGN_ID = '689dce4358cba50614cee678'

await describeOnEveryDatabase('the topics of tasks', (database) => {
  it('executes what somebody else produced, and answers for devices that do not exist', async () => {
    const { bus, core } = await startTaskCore(database)
    await registerMeters(core.registry, 3)
    await core.registry.load('gw-2', [{ siteId: 2, serialNumber: 'MTR-00002' }])
    const reader = await readTopics(bus, [ORCHESTRATOR_RESPONSES])
    deviceSide(core, () => ({ state: 'SUCCEEDED' }))
    const value = {
      command_type: 'SET_TOU',
      command_params: { tou_profile_id: 'TOU-1' },
      device_ids: ['MTR-00000', 'MTR-00001', 'MTR-00000', 'nobody', 'MTR-00002'],
      requested_by: 'billing',
    }
    await bus.publish(TASK_REQUESTED, [{ key: FOREIGN_ID, value: JSON.stringify(value) }])
    const task = await until(async () => {
      const now = await core.tasks.get(FOREIGN_ID)
      return now?.finishedAtMs == null ? null : now
    })
    expect(task).toMatchObject({
      source: 'topic',
      requestedBy: 'billing',
      state: 'COMPLETED',
      deviceCount: 4,
      tally: { SUCCEEDED: 2, REJECTED: 2 },
    })
    const rejected = await core.tasks.devices(FOREIGN_ID, { state: 'REJECTED' })
    expect(rejected?.items.map(({ serialNumber, reason }) => [serialNumber, reason])).toEqual([
      ['nobody', 'no device of this serial number is registered'],
      ['MTR-00002', 'sites 1, 2 have a device of this serial number: name one with site_id'],
    ])
    await until(() => responses(reader).length >= 4)
    // The same record again is the same task.
    await bus.publish(TASK_REQUESTED, [{ key: FOREIGN_ID, value: JSON.stringify(value) }])
    const later = '689dce4358cba50614cee679'
    await bus.publish(TASK_REQUESTED, [{ key: later, value: JSON.stringify({ ...value, device_ids: ['MTR-00000'] }) }])
    await ended(core, later).catch(() => undefined)
    expect(responses(reader).filter((response) => response.taskId === FOREIGN_ID)).toHaveLength(4)
    expect(core.orchestration.stats().foreignTasks).toBe(2)
  })

  it('puts poison aside on both topics, and the partitions go on', async () => {
    const settings = { secondPersonTypes: ['REMOTE_DISCONNECT'] }
    const { bus, core } = await startTaskCore(database, { settings })
    await registerMeters(core.registry, 1)
    const letters = [deadLetterTopicOf(TASK_REQUESTED), deadLetterTopicOf(ORCHESTRATOR_RESPONSES)]
    const reader = await readTopics(bus, letters)
    deviceSide(core, () => ({ state: 'SUCCEEDED' }))
    const good = {
      command_type: 'SET_TOU',
      command_params: { tou_profile_id: 'TOU-1' },
      device_ids: ['MTR-00000'],
      requested_by: 'billing',
    }
    const poison = [
      { key: FOREIGN_ID, value: 'no JSON' },
      { key: 'short', value: JSON.stringify(good) },
      { key: FOREIGN_ID, value: JSON.stringify({ ...good, device_ids: [] }) },
      { key: FOREIGN_ID, value: JSON.stringify({ ...good, command_params: { tou_profile_id: 5 } }) },
      { key: FOREIGN_ID, value: JSON.stringify({ ...good, options: { concurrency: 'many' } }) },
      { key: FOREIGN_ID, value: JSON.stringify({ ...good, options: { expires_at: '2001-01-01T00:00:00Z' } }) },
      // Nobody gets round the second person.
      { key: FOREIGN_ID, value: JSON.stringify({ ...good, command_type: 'remote_disconnect', command_params: null }) },
    ]
    for (const record of poison) await bus.publish(TASK_REQUESTED, [record])
    await bus.publish(ORCHESTRATOR_RESPONSES, [
      { key: 'MTR-00000', value: '{' },
      {
        key: 'MTR-00000',
        value: JSON.stringify({ taskId: FOREIGN_ID, command_id: 'x', deviceId: 'y', status: 'WELL' }),
      },
      { key: 'MTR-00000', value: JSON.stringify({ taskId: 'z', command_id: 'x', deviceId: 'y', status: 'SUCCESS' }) },
    ])
    await bus.publish(TASK_REQUESTED, [{ key: FOREIGN_ID, value: JSON.stringify(good) }])
    expect(await ended(core, FOREIGN_ID)).toMatchObject({ tally: { SUCCEEDED: 1 } })
    await until(() => reader.records.length >= 9)
    const codes = (topic: string) => reader.values(topic).map(({ error }) => (error as { code: string }).code)
    expect(codes(letters[0] as string).sort()).toEqual([
      'KEY_INVALID',
      'NOT_JSON',
      'TASK_REFUSED',
      'TASK_REFUSED',
      'TASK_REFUSED',
      'VALUE_INVALID',
      'VALUE_INVALID',
    ])
    expect(codes(letters[1] as string).sort()).toEqual(['NOT_JSON', 'VALUE_INVALID'])
    expect(core.orchestration.stats().foreignResponses).toBe(1)
  })

  it('takes records that come twice once', async () => {
    const { bus, core } = await startTaskCore(database)
    const serials = await registerMeters(core.registry, 5)
    const reader = await readTopics(bus, [TASK_REQUESTED, ORCHESTRATOR_RESPONSES])
    const devices = deviceSide(core, () => ({ state: 'SUCCEEDED' }))
    const { taskId } = await create(core, { deviceIds: serials })
    await ended(core, taskId)
    await until(() => responses(reader).length >= 5)
    for (const record of [...reader.records]) await bus.publish(record.topic, [record])
    await until(() => core.orchestration.stats().repeatedResponses >= 5)
    expect(await core.tasks.get(taskId)).toMatchObject({ state: 'COMPLETED', round: 1, tally: { SUCCEEDED: 5 } })
    expect([...devices.executed.values()].map((commands) => commands.length)).toEqual([1, 1, 1, 1, 1])
    expect(responses(reader)).toHaveLength(10)
  })
})
