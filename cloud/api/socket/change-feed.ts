/** Where the changes of a resource come from: the service that keeps it, as the live channels see it. */

import type { Alerts, AlertView } from '../../alerts/alerts.ts'
import type { CommandService, CommandView } from '../../commands/commands.ts'
import type { Notifications, UnreadCount } from '../../notifications/notifications.ts'
import type { Tasks, TaskView } from '../../orchestration/orchestration.ts'
import { PAGE_LIMIT_MAX, type Page, type PageRequest } from '../../registry/page.ts'
import { alertBody } from '../schemas/alert.ts'
import { commandBody } from '../schemas/command.ts'
import { unreadBody } from '../schemas/notification.ts'
import { taskBody } from '../schemas/task.ts'
import type { ResourceChannel } from './channels.ts'
import { type Filter, keysOf } from './filter.ts'
import { maySee, type Sight, type Viewer } from './visibility.ts'

/** The present state of a resource that has changed. */
export interface Change extends Sight {
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
  /** What the filter names and `viewer` may see, the newest `limit` (up to 500), the newest last. */
  present(filter: Filter, limit: number, viewer: Viewer): Promise<readonly Change[]>
}

export type ChangeFeeds = Readonly<Partial<Record<ResourceChannel, ChangeFeed>>>

export function commandFeed(commands: Pick<CommandService, 'get' | 'list' | 'changedSince'>): ChangeFeed {
  return feedOf<CommandView, Parameters<typeof commands.list>[0]>(commands, {
    change: (command) => ({
      id: command.id,
      changedAtMs: command.updatedAtMs,
      keys: keysOf({
        siteId: command.siteId,
        deviceId: command.registeredDeviceId,
        serialNumber: command.deviceId,
        commandId: command.id,
      }),
      sites: command.siteId === null ? null : [command.siteId],
      askedBy: null,
      body: commandBody(command),
    }),
    one: ({ commandId }) => commandId,
    request: ({ siteId, deviceId, serialNumber }, { sites }) => {
      return { siteId, registeredDeviceId: deviceId, deviceId: serialNumber, sites }
    },
  })
}

export function taskFeed(tasks: Pick<Tasks, 'get' | 'list' | 'changedSince'>): ChangeFeed {
  return feedOf<TaskView, Parameters<typeof tasks.list>[0]>(tasks, {
    change: (task) => ({
      id: task.taskId,
      changedAtMs: task.updatedAtMs,
      keys: keysOf({ taskId: task.taskId }),
      sites: task.siteIds.length === 0 ? null : task.siteIds,
      askedBy: task.requestedBy,
      body: taskBody(task),
    }),
    one: ({ taskId }) => taskId,
    request: (_, { id, sites }) => ({ sites, askedBy: id }),
  })
}

export function alertFeed(alerts: Pick<Alerts, 'get' | 'list' | 'changedSince'>): ChangeFeed {
  return feedOf<AlertView, Parameters<typeof alerts.list>[0]>(alerts, {
    change: (alert) => {
      const { id, siteId, deviceId, serialNumber, ruleId, updatedAtMs } = alert
      const keys = keysOf({ siteId, deviceId, serialNumber, alertId: id, ruleId })
      return { id, changedAtMs: updatedAtMs, keys, sites: [siteId], askedBy: null, body: alertBody(alert) }
    },
    one: ({ alertId }) => alertId,
    request: ({ siteId, deviceId, serialNumber, ruleId }, { sites }) => {
      return { siteId, deviceId, serialNumber, ruleId, sites }
    },
  })
}

/** A service that keeps resources, the newest first. */
interface Resources<View, Request> {
  get(id: string): Promise<View | null>
  list(request: Request & PageRequest): Promise<Page<View>>
  changedSince(sinceMs: number, limit: number, afterId: string): Promise<readonly View[]>
}

interface FeedShape<View, Request> {
  readonly change: (view: View) => Change
  /** The id of the one resource that a filter names. */
  readonly one: (filter: Filter) => string | undefined
  /** How the service is asked for what any other filter names, of what the viewer may see. */
  readonly request: (filter: Filter, viewer: Viewer) => Request
}

function feedOf<View, Request>(
  resources: Resources<View, Request>,
  { change, one, request }: FeedShape<View, Request>,
): ChangeFeed {
  return {
    async changedSince(sinceMs, limit, afterId) {
      return (await resources.changedSince(sinceMs, limit, afterId)).map(change)
    },
    async present(filter, limit, viewer) {
      const id = one(filter)
      if (id === undefined) {
        const { items } = await resources.list({ ...request(filter, viewer), limit: Math.min(limit, PAGE_LIMIT_MAX) })
        return items
          .map(change)
          .filter((each) => maySee(viewer, each))
          .toReversed()
      }
      const view = await resources.get(id)
      return view === null ? [] : [change(view)].filter((each) => maySee(viewer, each))
    },
  }
}

/** A change is that a notification came or was read. */
export function unreadFeed({ inbox }: Pick<Notifications, 'inbox'>): ChangeFeed {
  const changeOf = (count: UnreadCount): Change => ({
    id: count.userId,
    changedAtMs: count.changedAtMs,
    keys: keysOf({ userId: count.userId }),
    // Found by its user alone, who was asked for when the subscription was made.
    sites: null,
    askedBy: count.userId,
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
