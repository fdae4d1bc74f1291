/** Whoever asked for a task is told how it ended, whichever way that was. */

import { expect, it } from 'vitest'
import { type Notifications, taskNotice } from '../../../cloud/notifications/notifications.ts'
import type { TasksOptions } from '../../../cloud/orchestration/orchestration.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { notificationCore } from '../../support/notification-core.ts'
import { until } from '../../support/until.ts'
import { create, deviceSide, ended, registerMeters, startTaskCore } from '../orchestration/support/task-core.ts'

await describeOnEveryDatabase('the end of a task', (databases) => {
  async function startCore() {
    let notifications: Notifications | undefined
    const onEnded: TasksOptions['onEnded'] = async (tasks, transaction) => {
      await notifications?.notify(
        tasks.flatMap((task) => taskNotice(task) ?? []),
        transaction,
      )
    }
    const { core } = await startTaskCore(databases, { onEnded })
    notifications = notificationCore(core.database).notifications
    const { inbox } = notifications
    const serials = await registerMeters(core.registry, 4)
    return { core, serials, told: async () => (await inbox.list('userB')).items }
  }

  it('is told once, with its tally, and again after another round', async () => {
    const { core, serials, told } = await startCore()
    const commands = new Map<string, number>()
    deviceSide(core, ({ serialNumber, before }) => {
      commands.set(serialNumber, before + 1)
      return { state: serialNumber === 'MTR-00003' && before === 0 ? 'FAILED' : 'SUCCEEDED' }
    })
    const { taskId } = await create(core, { deviceIds: serials })
    const nobody = await create(core, { deviceIds: serials, requestedBy: 'shift leader' })
    const task = await ended(core, taskId)
    await ended(core, nobody.taskId)
    expect(await told()).toMatchObject([
      {
        type: 'TASK_COMPLETED',
        severity: 'WARNING',
        title: 'Task SET_TOU is COMPLETED',
        content: 'SET_TOU: 3 of 4 devices succeeded, 1 FAILED.',
        relatedEntityId: taskId,
        siteId: null,
        atMs: task.finishedAtMs,
      },
    ])
    await core.tasks.retry(taskId)
    await until(async () => (await told()).length === 2)
    expect((await told()).find(({ severity }) => severity === 'INFO')?.content).toBe(
      'SET_TOU: 4 of 4 devices succeeded.',
    )
  })

  it('is told when it was cancelled, aborted, or took too long', async () => {
    const { core, serials, told } = await startCore()
    const cancelled = await create(core, { deviceIds: serials })
    await core.tasks.cancel(cancelled.taskId, 'a mistake')
    await ended(core, cancelled.taskId)
    deviceSide(core, () => ({ state: 'FAILED' }))
    const aborted = await create(core, {
      deviceIds: serials,
      options: { concurrency: 1, abort: [{ on: 'FAILED', percent: 20, min_results: 1 }] },
    })
    await ended(core, aborted.taskId)
    const options = { expires_in_ms: 1_000, rate: { per_minute: 60 }, retries: { max: 0 } }
    const expired = await create(core, { deviceIds: serials, options })
    await ended(core, expired.taskId)
    const byTask = new Map((await told()).map((notification) => [notification.relatedEntityId, notification]))
    expect(byTask.size).toBe(3)
    expect(byTask.get(cancelled.taskId)).toMatchObject({
      severity: 'INFO',
      title: 'Task SET_TOU is CANCELLED',
      content: 'SET_TOU: 0 of 4 devices succeeded, 4 CANCELLED. Reason: a mistake',
    })
    expect(byTask.get(expired.taskId)).toMatchObject({ severity: 'WARNING', title: 'Task SET_TOU is COMPLETED' })
    expect(byTask.get(expired.taskId)?.content).toMatch(/, [1-4] EXPIRED/)
    expect(byTask.get(aborted.taskId)).toMatchObject({ severity: 'WARNING', title: 'Task SET_TOU is ABORTED' })
  })
})
