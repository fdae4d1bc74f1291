/**
 * Composition of what the core makes of the devices' records: analytics, statuses, alerts, what people are told of them, and
 * what to do with records that nobody can handle.
 *
 *     bus ─┬─▶ analytics ─▶ readings, roll-ups, latest values, statuses
 *          ├─▶ alert evaluation ─▶ alerts ─┐
 *          │      silence, gateways ───────┴─▶ notifications ─▶ outbox ─▶ bus ─▶ sockets, webhook
 *          └─▶ dead letters ─▶ replay ─▶ bus
 */

import type { Part } from '../shared/lifecycle.ts'
import { sideBySide } from '../shared/lifecycle.ts'
import { AlertEvaluation, AlertRules, Alerts, RuleTrials } from './alerts/alerts.ts'
import type { Route } from './api/http/route.ts'
import { alertRoutes } from './api/routes/alerts.ts'
import { deadLetterRoutes } from './api/routes/dead-letters.ts'
import { notificationRoutes } from './api/routes/notifications.ts'
import { statusRoutes } from './api/routes/status.ts'
import { telemetryRoutes } from './api/routes/telemetry.ts'
import { alertFeed, type ChangeFeeds, unreadFeed } from './api/socket/change-feed.ts'
import type { Bus, ConsumedRecord } from './bus/bus.ts'
import {
  ANALYTICS_GROUP,
  DEVICE_STATUS,
  DEVICE_TELEMETRY,
  ORCHESTRATOR_RESPONSES,
  TASK_REQUESTED,
} from './bus/catalogue.ts'
import type { Outbox } from './bus/outbox.ts'
import type { Parking } from './bus/parking.ts'
import type { CloudConfig } from './config.ts'
import type { CoreTools } from './core.ts'
import type { DatabaseHandle } from './database/database.ts'
import { DeadLetters } from './dead-letters/dead-letters.ts'
import { Depths } from './depths.ts'
import { IngestReplay } from './ingest/replay.ts'
import { NotificationDelivery } from './notifications/delivery.ts'
import { Notifications } from './notifications/notifications.ts'
import { readRequest, readResponse } from './orchestration/task-messages.ts'
import { readReading, readStatusEvent } from './registry/device-event.ts'
import type { Registry } from './registry/registry.ts'
import { GatewayWatch, SilenceWatch, StatusHistory } from './status/status.ts'
import { Analytics } from './telemetry/analytics.ts'
import { SeriesStore } from './telemetry/series-store.ts'
import { TelemetryQueries } from './telemetry/telemetry-queries.ts'

export interface InsightServices {
  readonly bus: Bus
  readonly database: DatabaseHandle
  readonly outbox: Outbox
  readonly parking: Parking
  readonly registry: Registry
  /** Of dead letters of other services: how each topic's are read. */
  readonly decoders: ReadonlyMap<string, (record: ConsumedRecord) => object>
  readonly coreId: string
}

export type Insight = ReturnType<typeof createInsight>

export function createInsight(config: CloudConfig, services: InsightServices, tools: CoreTools) {
  const { database, parking, registry } = services
  const { clock } = tools
  const common = { ...services, ...tools }
  const { checkPeriodMs, historyDays, gatewayOfflineAfterMs } = config.status
  const { gatewaySilentAfterMs } = config.registry

  const notifications = new Notifications({ ...common, settings: config.notifications })
  const delivery = new NotificationDelivery({ ...common, webhook: config.notifications.webhook })
  const history = new StatusHistory({ ...common, historyDays })
  const silence = new SilenceWatch({
    ...common,
    settings: config.status,
    checkPeriodMs,
    gatewaySilentAfterMs,
    positions: () => services.bus.positions(ANALYTICS_GROUP, [DEVICE_TELEMETRY, DEVICE_STATUS]),
  })
  const gatewayWatch = new GatewayWatch({
    ...common,
    notifier: notifications,
    ...{ gatewayOfflineAfterMs, checkPeriodMs, gatewaySilentAfterMs, historyDays },
  })
  const analytics: Analytics = new Analytics({
    ...common,
    settings: config.telemetry,
    statuses: {
      append: (events, transaction) => history.append(events, transaction),
      heard: (heardAtMs, transaction) => silence.heard(heardAtMs, transaction),
      nudge: () => silence.nudge(),
    },
  })
  const telemetry = new TelemetryQueries({ database, registry, settings: config.telemetry, analytics, ...tools })
  const rules = new AlertRules({ ...common, notifier: notifications, rulesMax: config.alerts.rulesMax })
  const alerts = new Alerts({ ...common, notifier: notifications, keptDays: config.alerts.keptDays })
  const series = new SeriesStore(database)
  const trials = new RuleTrials({ rules, registry, readings: (...page) => series.readings(...page) })
  const evaluation = new AlertEvaluation({ ...common, ...config.alerts, rules, notifier: notifications })
  const deadLetters = new DeadLetters({
    ...common,
    intake: new IngestReplay({
      registry,
      ...(config.ingest.insecure ? {} : { gatewaySites: registry.gatewaySites }),
      autoRegister: config.registry.autoRegister,
      futureToleranceMs: config.ingest.futureToleranceMs,
      clock,
    }),
    decoders: new Map<string, (record: ConsumedRecord) => object>([
      [DEVICE_TELEMETRY, readReading],
      [DEVICE_STATUS, readStatusEvent],
      [TASK_REQUESTED, ({ key, value }) => readRequest(key, value)],
      [ORCHESTRATOR_RESPONSES, ({ value }) => readResponse(value)],
      ...services.decoders,
    ]),
    settings: config.deadLetters,
  })
  const depths = new Depths({ ...common, deadLetters })

  const routes: readonly Route[] = [
    ...telemetryRoutes({ telemetry, registry, latest: analytics, clock }),
    ...statusRoutes({ registry, history, gatewayWatch, clock }),
    ...alertRoutes({ rules, alerts, trials }),
    ...notificationRoutes({ notifications }),
    ...deadLetterRoutes({ deadLetters }),
  ]
  const feeds: ChangeFeeds = { alerts: alertFeed(alerts), unread: unreadFeed(notifications) }
  return {
    ...{
      analytics,
      telemetry,
      evaluation,
      alerts,
      notifications,
      delivery,
      deadLetters,
      depths,
      silence,
      gatewayWatch,
      parking,
    },
    routes,
    feeds,
    consumers: [analytics, evaluation, delivery, deadLetters] satisfies readonly Part[],
    duties: sideBySide('duties', [notifications, history, silence, gatewayWatch, alerts, depths]),
  }
}
