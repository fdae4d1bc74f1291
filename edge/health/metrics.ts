/** Prometheus metrics of the edge, read from the parts when they are asked for. */

import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { LANES } from '../../shared/lanes.ts'
import { CERTIFICATE_STATES } from '../identity/certificate-status.ts'
import type { HealthSources } from './sources.ts'
import type { EdgeStatus } from './status.ts'

type Reading = number | readonly { readonly labels: Record<string, string>; readonly value: number }[]

/** @param status the same numbers as `/status` shows, where a metric is derived from several. */
export function edgeMetrics(sources: HealthSources, status: () => EdgeStatus): Registry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })

  const gauge = (name: string, help: string, read: () => Reading, labelNames: string[] = []): void => {
    new Gauge({
      name: `busbar_edge_${name}`,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset()
        for (const { labels, value } of readingsOf(read())) this.set(labels, value)
      },
    })
  }
  const counter = (name: string, help: string, read: () => Reading, labelNames: string[] = []): void => {
    new Counter({
      name: `busbar_edge_${name}_total`,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset()
        for (const { labels, value } of readingsOf(read())) this.inc(labels, value)
      },
    })
  }

  const { spool, broker, uplink, certificate, commands } = sources
  const perLane = (read: (lane: EdgeStatus['spool']['lanes']['priority']) => number): Reading => {
    const { lanes } = status().spool
    return LANES.map((lane) => ({ labels: { lane }, value: read(lanes[lane]) }))
  }

  gauge('ready', '1 when devices can publish and what they publish is kept', () => bit(status().readiness.ready))
  gauge('spool_records', 'Records that the cloud has not confirmed', () => perLane((lane) => lane.records), ['lane'])
  gauge('spool_bytes', 'Size of those records on disk', () => perLane((lane) => lane.bytes), ['lane'])
  gauge('spool_lag_seconds', 'Age of the oldest record', () => perLane((lane) => lane.lagMs / 1000), ['lane'])
  gauge('spool_limit_bytes', 'spool.bytesMax', () => status().spool.bytesMax)
  gauge('spool_pending_bytes', 'Accepted and not on disk yet', () => spool.pendingBytes)
  gauge('spool_accepting', '0 while devices wait for the disk', () => bit(spool.accepting))
  gauge('spool_failing', '1 while nothing can be stored', () => bit(spool.stats().failing !== null))
  gauge(
    'spool_time_to_full_seconds',
    'Until a limit is reached at the present rate; +Inf when the spool does not grow',
    () => (status().spool.timeToFullMs ?? Number.POSITIVE_INFINITY) / 1000,
  )
  gauge('disk_free_bytes', 'Free space where the spool is', () => {
    const bytes = spool.stats().diskFreeBytes
    return bytes === null ? [] : bytes
  })
  counter('spool_appended_records', 'Records taken in', () => spool.stats().appendedRecords)
  counter('spool_commits', 'Group commits', () => spool.stats().commits)
  counter('spool_written_bytes', 'Bytes written to disk', () => spool.stats().bytesWritten)
  counter('spool_evicted_records', 'Records given up', () => byReason(spool.stats().evicted), ['reason'])
  counter('spool_quarantined_blocks', 'Corrupt blocks set aside', () => spool.stats().quarantinedBlocks)

  gauge('mqtt_connections', 'Connected clients', () => broker.stats().connections)
  gauge('mqtt_sessions', 'Durable sessions, connected or not', () => broker.stats().sessions)
  counter('mqtt_connections_accepted', 'Clients that logged in', () => broker.stats().connectionsAccepted)
  counter('mqtt_publishes_received', 'PUBLISH packets taken', () => broker.stats().publishesReceived)
  counter('mqtt_refused', 'Connections or packets refused', () => byReason(broker.stats().refused), ['reason'])
  gauge('mqtt_half_open', 'Connections that have not logged in', () => broker.stats().halfOpen)
  counter('mqtt_lockouts', 'Usernames and addresses locked out', () => broker.stats().lockouts)
  counter('mqtt_throttled', 'Times a client that sent too fast was not read', () => broker.stats().throttled)
  counter('mqtt_dropped_messages', 'Messages a subscriber missed', () => byReason(broker.stats().dropped), ['reason'])

  gauge('commands_waiting', 'Commands whose device is not there', () => commands.stats().waiting)
  gauge('commands_sent', 'Commands on the way to their device', () => commands.stats().sent)
  gauge('commands_delivered', 'Commands with their device, not answered', () => commands.stats().delivered)
  gauge('commands_failing', '1 while commands cannot be stored', () => bit(commands.stats().failing !== null))
  counter('commands_stored', 'Commands taken in', () => commands.stats().stored)
  counter('commands_refused', 'Commands refused, to be handed over again later', () => commands.stats().refused)
  counter('commands_deliveries', 'Commands written to their device', () => commands.stats().deliveries)
  counter('commands_ended', 'Commands that ended', () => byReason(commands.stats().ended), ['reason'])

  if (uplink !== null) {
    gauge('uplink_connected', '1 while records can flow to the cloud', () => bit(uplink.stats().connected))
    gauge('uplink_credit_bytes', 'Bytes that the cloud lets this gateway send', () => uplink.stats().creditBytes)
    counter('uplink_sent_records', 'Records sent, again counted again', () => uplink.stats().sentRecords)
    counter('uplink_acknowledged_records', 'Records that the cloud confirmed', () => uplink.stats().ackedRecords)
    counter('uplink_sent_bytes', 'Bytes of blocks sent', () => uplink.stats().sentBytes)
    counter('uplink_reconnects', 'Times the link was lost and dialled again', () => uplink.stats().reconnects)
  }
  if (certificate !== null) {
    gauge(
      'certificate_state',
      '1 for the state in which the certificate of this gateway is',
      () =>
        CERTIFICATE_STATES.map((state) => ({ labels: { state }, value: bit(certificate.status().state === state) })),
      ['state'],
    )
    gauge('certificate_not_after_seconds', 'When the certificate of this gateway ends, Unix time', () => {
      const { notAfter } = certificate.status()
      return notAfter === null ? [] : Date.parse(notAfter) / 1000
    })
    gauge('certificate_renewal_failing', '1 while the last attempt to renew the certificate failed', () =>
      bit(certificate.status().lastRenewalError !== null),
    )
    counter('certificate_renewals', 'Certificates that were renewed', () => certificate.status().renewals)
  }
  return registry
}

function readingsOf(reading: Reading): Exclude<Reading, number> {
  return typeof reading === 'number' ? [{ labels: {}, value: reading }] : reading
}

function byReason(counts: Readonly<Record<string, number>>): Reading {
  return Object.entries(counts).map(([reason, value]) => ({ labels: { reason }, value }))
}

function bit(holds: boolean): number {
  return holds ? 1 : 0
}
