/** Prometheus metrics of what the core makes of the devices' records. */

import { labelled, type Metrics } from '../shared/metrics.ts'
import type { Insight } from './insight.ts'

export function insightMetrics({ gauge, counter }: Metrics, insight: Insight): void {
  const {
    analytics,
    telemetry,
    evaluation,
    alerts,
    notifications,
    delivery,
    deadLetters,
    silence,
    gatewayWatch,
    parking,
  } = insight

  counter('analytics_records', 'Records of devices whose effect is in the database', () => analytics.stats().records)
  counter('analytics_writes', 'Transactions that wrote them', () => analytics.stats().writes)
  counter('analytics_stored_readings', 'Readings that were new', () => analytics.stats().storedReadings)
  counter('analytics_duplicate_readings', 'Readings that were there', () => analytics.stats().duplicateReadings)
  counter('analytics_rolled_up_readings', 'Readings that this core rolled up', () => analytics.stats().rolledUpReadings)
  gauge('analytics_pending_readings', 'Readings that are stored and not rolled up, of all cores', () => {
    return analytics.stats().pendingReadings
  })
  gauge('analytics_pending_seconds', 'How long the oldest of them has waited', () => analytics.stats().pendingMs / 1000)
  counter(
    'analytics_unusable_records',
    'Records of devices that were dead-lettered',
    () => labelled('code', analytics.stats().unusable),
    ['code'],
  )
  gauge(
    'parked_records',
    'Records that are set aside with their key, of all cores',
    () => parking.stats().parked.map(({ group, topic, records }) => ({ labels: { group, topic }, value: records })),
    ['group', 'topic'],
  )
  gauge(
    'parked_oldest_seconds',
    'How long the oldest of them has been set aside',
    () =>
      parking.stats().parked.map(({ group, topic, oldestAgeMs }) => {
        return { labels: { group, topic }, value: oldestAgeMs / 1000 }
      }),
    ['group', 'topic'],
  )

  gauge('silent_devices', 'Devices that are OFFLINE for their silence', () => silence.stats().silentDevices)
  counter('silent_devices_found', 'Devices that this core found silent', () => silence.stats().fellSilent)
  gauge('gateways_offline', 'Gateways that people were told of as offline', () => gatewayWatch.stats().gatewaysOffline)

  gauge('alert_rules', 'Enabled alert rules', () => evaluation.stats().rules)
  gauge('alerts_open', 'Open alerts, of all cores', () => evaluation.stats().open)
  counter('alerts_evaluated_readings', 'Readings that a rule was asked about', () => evaluation.stats().evaluated)
  counter('alerts_opened', 'Alerts that this core opened', () => evaluation.stats().opened)
  counter('alerts_closed', 'Alerts that this core closed', () => evaluation.stats().closed)
  counter('alerts_past', 'Alerts that this core found after the fact', () => evaluation.stats().past)
  counter('alerts_escalated', 'Alerts that this core escalated', () => alerts.stats().escalated)

  counter(
    'notifications_stored',
    'Notifications, one for each user',
    () => labelled('type', notifications.stats().stored),
    ['type'],
  )
  counter('notifications_held', 'Notices that were put off to a summary', () => notifications.stats().held)
  counter('webhook_delivered', 'Notifications that the webhook has', () => delivery.stats().webhook?.delivered ?? 0)
  counter('webhook_failures', 'Posts that failed', () => labelled('cause', delivery.stats().webhook?.failures ?? {}), [
    'cause',
  ])
  counter('webhook_skipped', 'Notifications that are not posted', () => labelled('reason', delivery.stats().skipped), [
    'reason',
  ])
  gauge('webhook_breaker_open', '1 while nothing is posted, 0.5 while one is tried', () => {
    return { closed: 0, 'half-open': 0.5, open: 1 }[delivery.stats().webhook?.breaker ?? 'closed']
  })

  gauge('exports_running', 'Exports that are being read', () => telemetry.stats().exporting)
  counter('exports', 'Exports that began', () => telemetry.stats().exports)
  counter('exports_failed', 'Exports that broke off', () => telemetry.stats().exportsFailed)
  counter('dead_letters_listed', 'Dead letters that this core listed', () => deadLetters.stats().indexed)
  counter('dead_letters_replayed', 'Dead letters that this core published again', () => deadLetters.stats().replayed)
}
