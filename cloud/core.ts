/**
 * The composition root of the cloud: every part, in the order in which the data flows.
 *
 *     gateways ═gRPC═▶ ingest ─▶ bus ─▶ insight ─▶ database ◀─ api ◀─REST, WebSocket─ console
 *                        └─▶ registry, cursors, device commands ─▶ database
 *     api ─▶ activity log ─▶ database, relay ─▶ bus ─▶ activity log ─▶ database
 *     api ─▶ conversations ─▶ database ─▶ relay ─▶ bus ─▶ sockets
 *     api ─▶ commands, tasks ─▶ database ─▶ relay ─▶ bus ─▶ orchestration ─▶ device commands ─▶ dispatcher ═gRPC═▶ gateways
 */

import type { Clock } from '../shared/clock.ts'
import { DAY_MS, HOUR_MS } from '../shared/durations.ts'
import { type Assembly, assemble, sideBySide } from '../shared/lifecycle.ts'
import type { Logger } from '../shared/log.ts'
import { type Random, randomHex } from '../shared/random.ts'
import { VERSION } from '../shared/version.ts'
import { createAccess } from './access.ts'
import { foreignTaskActivity } from './activity/activity.ts'
import { activityCatalogue, activityDecoders, createActivityLog } from './activity-log.ts'
import { Api } from './api/api.ts'
import { commandFeed, taskFeed } from './api/socket/change-feed.ts'
import { Outbox } from './bus/outbox.ts'
import { OutboxRelay } from './bus/outbox-relay.ts'
import { Parking } from './bus/parking.ts'
import { TopicSetup } from './bus/topic-setup.ts'
import { busFromConfig } from './bus-from-config.ts'
import { CommandService } from './commands/commands.ts'
import { createCommunication } from './communication.ts'
import type { CloudConfig } from './config.ts'
import { databaseFromConfig } from './database-from-config.ts'
import { CommandDispatcher } from './gateways/command-dispatcher.ts'
import { DeviceCommands, Gateways } from './gateways/gateways.ts'
import type { Authentication, Identity } from './identity/identity.ts'
import { Ingest } from './ingest/server.ts'
import { createInsight } from './insight.ts'
import { coreMetrics } from './metrics.ts'
import { taskNotice } from './notifications/notifications.ts'
import { TaskOrchestration, Tasks } from './orchestration/orchestration.ts'
import { Registry } from './registry/registry.ts'
import { createApprovals } from './second-person.ts'

export interface CoreTools {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface Core extends Assembly {
  readonly api: Api
  /** Null where nobody is asked to log in. */
  readonly identity: Identity | null
}

/** @param authentication in place of what the config says; for who tests what each caller may do. */
export function createCore(config: CloudConfig, tools: CoreTools, authentication?: Authentication): Core {
  const { clock, log } = tools
  const database = databaseFromConfig(config, tools)
  const bus = busFromConfig(config, tools)
  const topics = new TopicSetup({ bus, ...tools })
  const registry = new Registry({ ...config.registry, database, ...tools })
  // Names this run of this core: what it leases is its own until it says otherwise or is gone.
  const coreId = randomHex(tools.random, 8)
  const { gatewayLeaseMs, answerGraceMs, windowCommands, outboxKeptHours, ...commandSettings } = config.commands
  const keptMs = commandSettings.keptDays * DAY_MS

  const outbox = new Outbox({ database, clock })
  const relay = new OutboxRelay({ outbox, bus, database, coreId, keptMs: outboxKeptHours * HOUR_MS, ...tools })
  const parking = new Parking({ database, bus, coreId, settings: config.consumers, ...tools })
  const gateways = new Gateways({ registry, database, coreId, leaseMs: gatewayLeaseMs, clock, log })
  const deviceCommands = new DeviceCommands({ database, outbox, clock })
  const dispatcher = new CommandDispatcher({
    database,
    gateways,
    commands: deviceCommands,
    windowCommands,
    answerGraceMs,
    keptMs,
    ...tools,
  })
  const types = activityCatalogue(config, () => api.routes)
  const decoders = activityDecoders(config, types, tools)
  const insight = createInsight(config, { bus, database, outbox, parking, registry, decoders, coreId }, tools)
  const { analytics, notifications } = insight
  const activity = createActivityLog(
    config,
    { bus, database, outbox, parking, notifier: notifications, types, coreId },
    tools,
  )
  const tags = () => new Set(api.routes.map(({ tag }) => tag))
  const access = createAccess(config, { database, registry, notifications, coreId, tags }, tools, authentication)
  const services = { database, outbox, deviceCommands, registry, ...tools }
  const commands = new CommandService({ ...services, settings: commandSettings })
  const secondPersonTypes = config.approvals.commandTypes
  const taskSettings = { ...commandSettings, ...config.tasks, secondPersonTypes }
  const tasks = new Tasks({
    ...services,
    settings: taskSettings,
    onEnded: (ended, transaction) =>
      notifications.notify(
        ended.flatMap((task) => taskNotice(task) ?? []),
        transaction,
      ),
  })
  const orchestration = new TaskOrchestration({
    ...services,
    tasks,
    bus,
    parking,
    coreId,
    settings: taskSettings,
    onForeign: (requests, transaction) =>
      activity.recorder.recordWithin(requests.map(foreignTaskActivity), transaction),
  })

  const { alerts } = insight
  const communication = createCommunication(
    config,
    {
      database,
      bus,
      outbox,
      parking,
      registry,
      tasks,
      alerts,
      notifications,
      hasUsers: access.identity !== null,
      coreId,
    },
    tools,
  )
  const { personBehind, mayCommand } = access
  const people = { personBehind, mayCommand }
  const approvals = createApprovals(config, { commands, tasks, database, coreId, ...people }, tools)

  const ingest = new Ingest({
    ...config.ingest,
    ...access.ingest,
    bus,
    database,
    registry,
    gateways,
    commands: deviceCommands,
    ...tools,
  })
  const { bodyBytesMax, tls: _, ...apiSettings } = config.api
  const api: Api = new Api({
    ...apiSettings,
    ...access.api,
    limits: { ...config.websocket, bodyBytesMax },
    registry,
    latest: analytics,
    commands,
    tasks,
    approvals,
    routes: [...insight.routes, ...communication.routes, ...activity.routes, ...access.routes],
    activities: activity.recorder,
    chat: communication.chat,
    feeds: { commands: commandFeed(commands), tasks: taskFeed(tasks), ...insight.feeds },
    authentication: access.authentication,
    recheckMs: config.identity.recheckMs,
    database,
    bus,
    dependencies: [
      { name: 'database', health: () => database.health() },
      { name: 'bus', health: () => bus.health() },
      { name: 'webhook', health: () => insight.delivery.health() },
      { name: 'activity-log', health: () => activity.processor.health() },
    ],
    metrics: coreMetrics({
      ingest,
      bus,
      gateways,
      insight,
      communication,
      activity,
      relay,
      dispatcher,
      orchestration,
      access,
    }),
    version: VERSION,
    ...tools,
  })

  // After a crash a group may take half a minute to let its new member in: they wait for it side by side.
  const consumers = sideBySide('consumers', [
    orchestration,
    ...insight.consumers,
    ...communication.consumers,
    ...activity.consumers,
  ])
  const accesses = sideBySide('access', access.parts)
  const assembly = assemble({
    // The API comes early: while the bus is awaited its health says so. Consumers come last: gateways need not wait for them.
    startOrder: [
      ...[
        database,
        accesses,
        registry,
        bus,
        gateways,
        communication.duties,
        activity.recorder,
        activity.duties,
        api,
        topics,
        relay,
        commands,
        approvals,
      ],
      ...[dispatcher, insight.duties, ingest],
      ...[parking, consumers],
    ],
    // Who takes in stops first; the database is last, since everyone before it may still write.
    stopOrder: [
      ...[
        ingest,
        topics,
        api,
        consumers,
        activity.duties,
        communication.duties,
        insight.duties,
        accesses,
        parking,
        dispatcher,
        approvals,
      ],
      ...[activity.recorder, commands, relay, gateways, registry, bus, database],
    ],
    stopTimeoutMs: config.shutdown.timeoutMs,
    clock,
    log,
  })
  return { ...assembly, api, identity: access.identity }
}
