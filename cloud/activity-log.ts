/**
 * Composition of the activity log: who did what, on its way to where it is kept, and what is made of it.
 *
 *     api, sockets ─▶ recorder ─▶ outbox ─▶ relay ─┐
 *     api ─▶ intake ───────────────────────────────┴▶ bus ─▶ processor ─▶ database ◀─ queries ◀─ api
 *                                                               └─▶ alerts, bus     ◀─ windows, upkeep
 */

import { type Part, sideBySide } from '../shared/lifecycle.ts'
import {
  ActivityIntake,
  ActivityProcessor,
  ActivityQueries,
  ActivityRecorder,
  ActivitySeal,
  ActivityStore,
  ActivityTypes,
  ActivityUpkeep,
  ActivityWindows,
  openActivityKeys,
  readActivity,
} from './activity/activity.ts'
import { recordedTypes } from './api/http/activity.ts'
import type { Route } from './api/http/route.ts'
import { activityRoutes } from './api/routes/activities.ts'
import type { Bus, ConsumedRecord } from './bus/bus.ts'
import { USER_ACTIVITY_LOGS } from './bus/catalogue.ts'
import type { Outbox } from './bus/outbox.ts'
import type { Parking } from './bus/parking.ts'
import type { CloudConfig } from './config.ts'
import type { CoreTools } from './core.ts'
import type { DatabaseHandle } from './database/database.ts'
import type { Notifier } from './notifications/notifications.ts'

export interface ActivityServices {
  readonly bus: Bus
  readonly database: DatabaseHandle
  readonly outbox: Outbox
  readonly parking: Parking
  readonly notifier: Notifier
  readonly types: () => ActivityTypes
  readonly coreId: string
}

export type ActivityLog = ReturnType<typeof createActivityLog>

export function createActivityLog(config: CloudConfig, services: ActivityServices, tools: CoreTools) {
  const { database, types } = services
  const settings = config.activity
  const keys = openActivityKeys(config, tools.random)
  const common = { ...services, ...tools, keys, settings }

  const recorder = new ActivityRecorder(common)
  const intake = new ActivityIntake({ ...common, types })
  const store = new ActivityStore({ ...common, dialect: database.dialect, sensitiveFields: settings.sensitiveFields })
  const processor = new ActivityProcessor({ ...common, store, types: { has: (type) => types().has(type) } })
  const windows = new ActivityWindows(common)
  const upkeep = new ActivityUpkeep({ ...common, activities: recorder })
  const queries = new ActivityQueries({ ...common, seal: new ActivitySeal(keys, tools.random) })
  return {
    ...{ recorder, intake, processor, windows, upkeep, queries },
    routes: activityRoutes({ queries, intake, types }),
    consumers: [processor] satisfies readonly Part[],
    /** They record what they do: the recorder is to be started before them and the API, and stopped after both. */
    duties: sideBySide('activity', [windows, upkeep]),
  }
}

/** The catalogue of types, made when it is first asked for: what is recorded of calls is known once all routes are. */
export function activityCatalogue({ activity }: CloudConfig, routes: () => readonly Route[]): () => ActivityTypes {
  let types: ActivityTypes | undefined
  return () => (types ??= new ActivityTypes(recordedTypes(routes()), activity.types))
}

/** Reads dead letters of the log as the processor would, by topic. */
export function activityDecoders({ activity }: CloudConfig, types: () => ActivityTypes, { clock }: CoreTools) {
  const read = (record: ConsumedRecord): object =>
    readActivity(record, { ...activity, types: types(), nowMs: clock.wallMs() })
  return new Map([[USER_ACTIVITY_LOGS, read]])
}
