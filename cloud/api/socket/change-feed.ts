/** Where the changes of a resource come from: the service that keeps it, as the live channels see it. */

import type { Alerts, AlertView } from '../../alerts/alerts.ts'
import type { CommandService, CommandView } from '../../commands/commands.ts'
import type { Notifications, UnreadCount } from '../../notifications/notifications.ts'
import type { Tasks, TaskView } from '../../orchestration/orchestration.ts'
import { PAGE_LIMIT_MAX } from '../../registry/page.ts'
import { alertBody } from '../schemas/alert.ts'
import { commandBody } from '../schemas/command.ts'
import { unreadBody } from '../schemas/notification.ts'
import { taskBody } from '../schemas/task.ts'
import type { ResourceChannel } from './channels.ts'
import { type Filter, keysOf } from './filter.ts'

/** The present state of a resource that has changed. */
export interface Change {
  readonly id: string
  /** When the change was stored, Unix milliseconds of the core that stored it. */
  readonly changedAtMs: number
  /** See keysOf. */
  readonly keys: readonly string[]
  /** As the REST API shows it. */
  readonly body: unknown
}

export interface ChangeFeed {
  /**
   * What changed at `sinceMs` or later, ascending by that time and id, `limit` at most; with `afterId` those of `sinceMs`
   * itself begin after it.
   */
  changedSince(sinceMs: number, limit: number, afterId: string): Promise<readonly Change[]>
  /** What the filter names, the newest `limit` (up to 500), the newest last. */
  present(filter: Filter, limit: number): Promise<readonly Change[]>
}

export type ChangeFeeds = Readonly<Partial<Record<ResourceChannel, ChangeFeed>>>

export function commandFeed(commands: Pick<CommandService, 'get' | 'list' | 'changedSince'>): ChangeFeed {
  const changeOf = (command: CommandView): Change => ({
    id: command.id,
    changedAtMs: command.updatedAtMs,
    keys: keysOf({
      siteId: command.siteId,
      deviceId: command.registeredDeviceId,
      serialNumber: command.deviceId,
      commandId: command.id,
    }),
    body: commandBody(command),
  })
  return {
    async changedSince(sinceMs, limit, afterId) {
      return (await commands.changedSince(sinceMs, limit, afterId)).map(changeOf)
    },
    async present({ commandId, siteId, deviceId, serialNumber }, limit) {
      if (commandId !== undefined) {
        const command = await commands.get(commandId)
        return command === null ? [] : [changeOf(command)]
      }
      const { items } = await commands.list({
        limit: Math.min(limit, PAGE_LIMIT_MAX),
        siteId,
        registeredDeviceId: deviceId,
        deviceId: serialNumber,
      })
      return items.toReversed().map(changeOf)
    },
  }
}

export function taskFeed(tasks: Pick<Tasks, 'get' | 'list' | 'changedSince'>): ChangeFeed {
  const changeOf = (task: TaskView): Change => ({
    id: task.taskId,
    changedAtMs: task.updatedAtMs,
    keys: keysOf({ taskId: task.taskId }),
    body: taskBody(task),
  })
  return {
    async changedSince(sinceMs, limit, afterId) {
      return (await tasks.changedSince(sinceMs, limit, afterId)).map(changeOf)
    },
    async present({ taskId }, limit) {
      if (taskId === undefined) {
        const { items } = await tasks.list({ limit: Math.min(limit, PAGE_LIMIT_MAX) })
        return items.toReversed().map(changeOf)
      }
      const task = await tasks.get(taskId)
      return task === null ? [] : [changeOf(task)]
    },
  }
}

export function alertFeed(alerts: Pick<Alerts, 'get' | 'list' | 'changedSince'>): ChangeFeed {
  const changeOf = (alert: AlertView): Change => ({
    id: alert.id,
    changedAtMs: alert.updatedAtMs,
    keys: keysOf({
      siteId: alert.siteId,
      deviceId: alert.deviceId,
      serialNumber: alert.serialNumber,
      alertId: alert.id,
      ruleId: alert.ruleId,
    }),
    body: alertBody(alert),
  })
  return {
    async changedSince(sinceMs, limit, afterId) {
      return (await alerts.changedSince(sinceMs, limit, afterId)).map(changeOf)
    },
    async present({ alertId, siteId, deviceId, serialNumber, ruleId }, limit) {
      if (alertId !== undefined) {
        const alert = await alerts.get(alertId)
        return alert === null ? [] : [changeOf(alert)]
      }
      const { items } = await alerts.list({
        limit: Math.min(limit, PAGE_LIMIT_MAX),
        siteId,
        deviceId,
        serialNumber,
        ruleId,
      })
      return items.toReversed().map(changeOf)
    },
  }
}

/** A change is that a notification came or was read. */
export function unreadFeed({ inbox }: Pick<Notifications, 'inbox'>): ChangeFeed {
  const changeOf = (count: UnreadCount): Change => ({
    id: count.userId,
    changedAtMs: count.changedAtMs,
    keys: keysOf({ userId: count.userId }),
    body: unreadBody(count),
  })
  return {
    async changedSince(sinceMs, limit, afterId) {
      return (await inbox.unreadSince(sinceMs, limit, afterId)).map(changeOf)
    },
    async present({ userId }) {
      // Of everybody it would be more than anybody wants to know.
      return userId === undefined ? [] : [changeOf(await inbox.unreadCount(userId))]
    },
  }
}
