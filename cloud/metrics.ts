/** Prometheus metrics of the core beside those of the API. */

import { collectDefaultMetrics, Registry as MetricsRegistry } from 'prom-client'
import { labelled, metricsOf } from '../shared/metrics.ts'
import type { Access } from './access.ts'
import type { ActivityLog } from './activity-log.ts'
import type { Bus } from './bus/bus.ts'
import type { OutboxRelay } from './bus/outbox-relay.ts'
import type { Communication } from './communication.ts'
import type { CommandDispatcher } from './gateways/command-dispatcher.ts'
import type { Gateways } from './gateways/gateways.ts'
import type { Ingest } from './ingest/server.ts'
import type { Insight } from './insight.ts'
import { accessMetrics } from './metrics-access.ts'
import { activityMetrics } from './metrics-activity.ts'
import { chatMetrics } from './metrics-chat.ts'
import { consumerMetrics } from './metrics-consumers.ts'
import { depthMetrics } from './metrics-depths.ts'
import { encodingMetrics } from './metrics-encoding.ts'
import { insightMetrics } from './metrics-insight.ts'
import type { TaskOrchestration } from './orchestration/orchestration.ts'

export function coreMetrics(parts: {
  readonly ingest: Pick<Ingest, 'stats'>
  readonly bus: Pick<Bus, 'stats'>
  readonly gateways: Pick<Gateways, 'connectedGateways'>
  readonly insight: Insight
  readonly communication: Communication
  readonly activity: ActivityLog
  readonly relay: Pick<OutboxRelay, 'stats'>
  readonly dispatcher: Pick<CommandDispatcher, 'stats'>
  readonly orchestration: Pick<TaskOrchestration, 'stats'>
  readonly access: Access
}): MetricsRegistry {
  const { ingest, bus, gateways, insight, communication, activity, relay, dispatcher, orchestration, access } = parts
  const registry = new MetricsRegistry()
  collectDefaultMetrics({ register: registry })
  const metrics = metricsOf(registry, 'busbar_')
  const { gauge, counter } = metrics
  const perGateway = (read: (gateway: ReturnType<Gateways['connectedGateways']>[number]) => number | null) =>
    gateways.connectedGateways().flatMap((gateway) => {
      const value = read(gateway)
      return value === null ? [] : [{ labels: { gateway: gateway.gatewayId }, value }]
    })

  gauge('ingest_gateways', 'Gateways connected to this core', () => ingest.stats().gateways)
  gauge('ingest_strangers', 'Connections to this core on which no gateway is admitted', () => ingest.stats().strangers)
  counter(
    'ingest_dismissed_strangers',
    'Connections that were cut before a gateway was admitted on them',
    () => labelled('reason', ingest.stats().strangersDismissed),
    ['reason'],
  )
  counter(
    'ingest_failed_handshakes',
    'TLS handshakes of gateways that failed',
    () => labelled('code', ingest.stats().handshakesFailed),
    ['code'],
  )
  gauge('ingest_reserved_bytes', 'Credit given out and block data on the way', () => ingest.stats().reservedBytes)
  gauge('ingest_decoded_bytes', 'Records decoded and not yet published', () => ingest.stats().decodedBytes)
  counter('ingest_blocks', 'Blocks taken in', () => ingest.stats().blocks)
  counter('ingest_received_bytes', 'Block data taken in', () => ingest.stats().bytes)
  counter('ingest_published_records', 'Records published onto the bus', () => ingest.stats().recordsPublished)
  counter('ingest_duplicate_records', 'Records that the cloud had already', () => ingest.stats().duplicatesDropped)
  counter('ingest_unchanged_statuses', 'Status reports that changed nothing', () => ingest.stats().statusUnchanged)
  counter('ingest_refused_timestamps', 'Readings published with the time of receipt instead of their own', () => {
    return ingest.stats().timestampsRefused
  })
  counter(
    'ingest_dead_letters',
    'Records that could not be understood',
    () => labelled('code', ingest.stats().deadLettered),
    ['code'],
  )
  counter(
    'ingest_lost_records',
    'Records that gateways gave up',
    () => labelled('reason', ingest.stats().recordsLost),
    ['reason'],
  )
  counter('ingest_command_reports', 'Answers of devices and facts of gateways about commands', () => {
    return ingest.stats().commandReports
  })
  counter('ingest_batches', 'Batches published', () => ingest.stats().batches)
  counter('ingest_publish_seconds', 'Time from the begin of publishing a batch to all of it durable', () => {
    return ingest.stats().publishMs / 1000
  })
  counter('ingest_retries', 'Publishing or storing cursors tried again', () => ingest.stats().retries)
  counter(
    'ingest_ended_streams',
    'Streams refused or ended by this core',
    () => labelled('status', ingest.stats().streamsEnded),
    ['status'],
  )

  gauge(
    'gateway_backlog_records',
    'Records that a gateway still holds, as it last said',
    () => perGateway((gateway) => gateway.backlog?.records ?? null),
    ['gateway'],
  )
  gauge(
    'gateway_backlog_bytes',
    'Size of those records at the gateway',
    () => perGateway((gateway) => gateway.backlog?.bytes ?? null),
    ['gateway'],
  )
  gauge(
    'gateway_lag_seconds',
    'Age of the newest block of a gateway when it was acknowledged',
    () => perGateway((gateway) => (gateway.lagMs === null ? null : gateway.lagMs / 1000)),
    ['gateway'],
  )
  gauge(
    'gateway_clock_offset_seconds',
    'Clock of a gateway less ours',
    () => perGateway((gateway) => gateway.clockOffsetMs / 1000),
    ['gateway'],
  )

  gauge('bus_queued_records', 'Records accepted and not yet durable', () => bus.stats().queuedRecords)
  gauge('bus_queued_bytes', 'Size of those records', () => bus.stats().queuedBytes)
  gauge('bus_breaker_open', '1 while the circuit breaker lets nothing through, 0.5 while it tries', () => {
    return { closed: 0, 'half-open': 0.5, open: 1 }[bus.stats().breaker]
  })
  counter('bus_published_records', 'Records that are durable', () => bus.stats().publishedRecords)
  counter('bus_published_batches', 'Appends that carried them', () => bus.stats().publishedBatches)
  counter('bus_published_bytes', 'Bytes of them, compressed', () => bus.stats().publishedBytes)
  counter('bus_consumed_records', 'Records whose consumer has finished', () => bus.stats().consumedRecords)
  counter('bus_redelivered_batches', 'Batches that a consumer rejected', () => bus.stats().redeliveredBatches)
  counter('bus_failures', 'Appends that failed', () => labelled('cause', bus.stats().failures), ['cause'])

  gauge('outbox_waiting_records', 'Records that are due and not published', () => relay.stats().waiting)
  gauge('outbox_oldest_waiting_seconds', 'How long the oldest of them has been due', () => {
    return relay.stats().oldestWaitingMs / 1000
  })
  gauge('outbox_set_aside_records', 'Records that the bus refuses for themselves', () => relay.stats().setAside)
  counter('outbox_published_records', 'Records that this core published from the outbox', () => relay.stats().published)

  gauge('commands_waiting', 'Commands that wait for their gateway', () => dispatcher.stats().waiting)
  gauge('commands_unreceipted', 'Commands handed over that no gateway has confirmed to have on disk', () => {
    return dispatcher.stats().unreceipted
  })
  gauge('commands_open', 'Commands that have not ended', () => dispatcher.stats().open)
  counter(
    'commands_finished',
    'Commands whose end this core noted',
    () => labelled('state', dispatcher.stats().finished),
    ['state'],
  )
  gauge('tasks_running', 'Tasks that this core runs', () => orchestration.stats().running)
  counter('tasks_taken_over', 'Tasks that another core had run before', () => orchestration.stats().takenOver)
  counter('tasks_foreign', 'Tasks that other programs asked for', () => orchestration.stats().foreignTasks)
  counter('tasks_issued_commands', 'Commands issued for devices of tasks', () => orchestration.stats().issuedCommands)
  counter('tasks_tallied_devices', 'Devices of tasks that got their final state', () => orchestration.stats().tallied)
  counter('tasks_failed_turns', 'Turns of tasks that failed and were tried again', () => {
    return orchestration.stats().failedTurns
  })
  encodingMetrics(metrics, bus)
  consumerMetrics(metrics, {
    analytics: () => insight.analytics.stats(),
    alerts: () => insight.evaluation.stats().consumer,
    delivery: () => insight.delivery.stats().consumer,
    conversations: () => communication.consumer.stats().consumer,
    activities: () => activity.processor.stats(),
  })
  depthMetrics(metrics, insight.depths)
  insightMetrics(metrics, insight)
  chatMetrics(metrics, communication)
  activityMetrics(metrics, activity)
  accessMetrics(metrics, access)
  return registry
}
