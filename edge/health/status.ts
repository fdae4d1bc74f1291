/** What `GET /status` answers and `busbar-edge status` shows. Fields may be added, never renamed. */

import { LANES, type Lane } from '../../shared/lanes.ts'
import type { CertificateStatus } from '../identity/certificate-status.ts'
import { timeToFullMs } from './growth.ts'
import { type Readiness, readinessOf } from './readiness.ts'
import type { DeviceState, HealthSources, ListenerState } from './sources.ts'

export interface LaneStatus {
  readonly records: number
  readonly bytes: number
  /** Age of the oldest record, milliseconds; 0 when the lane is empty. */
  readonly lagMs: number
}

export interface EdgeStatus {
  readonly gatewayId: string
  readonly version: string
  readonly processId: number
  readonly uptimeMs: number
  readonly readiness: Readiness
  readonly spool: {
    readonly lanes: Readonly<Record<Lane, LaneStatus>>
    readonly bytes: number
    readonly bytesMax: number
    /** Null when it cannot be told. */
    readonly diskFreeBytes: number | null
    readonly diskFreeBytesMin: number
    /** Net growth over the last minute; negative when draining, null when not known yet. */
    readonly growthBytesPerSecond: number | null
    /** Until the first of the limits is reached at that rate; null when the spool does not grow. */
    readonly timeToFullMs: number | null
    readonly bytesWritten: number
    readonly evicted: Readonly<Record<string, number>>
    readonly quarantinedBlocks: number
  }
  readonly uplink: {
    readonly state: string
    readonly connected: boolean
    /** How long the link has been up; null when it is not. */
    readonly connectedForMs: number | null
    /** Since the last acknowledgement; null before the first. */
    readonly sinceLastAckMs: number | null
    readonly reconnects: number
    readonly lastError: string | null
  } | null
  /** What this gateway is known by in the cloud; null when the uplink is disabled. */
  readonly certificate: CertificateStatus | null
  readonly broker: {
    readonly connections: number
    readonly listeners: readonly ListenerState[]
  }
  /** Commands of the cloud for the devices here. */
  readonly commands: {
    readonly waiting: number
    readonly sent: number
    readonly delivered: number
    readonly ended: Readonly<Record<string, number>>
    /** Why no further ones are taken; null when they are. */
    readonly failing: string | null
  }
  readonly devices: readonly DeviceState[]
}

export interface StatusFacts {
  readonly gatewayId: string
  readonly version: string
  readonly processId: number
  readonly uptimeMs: number
  readonly nowWallMs: number
  readonly spoolBytesMax: number
  readonly diskFreeBytesMin: number
  readonly growthBytesPerSecond: number | null
}

export function statusOf(sources: HealthSources, facts: StatusFacts): EdgeStatus {
  const { gatewayId, version, processId, uptimeMs, nowWallMs, growthBytesPerSecond } = facts
  const spool = sources.spool.stats()
  const { waiting, sent, delivered, ended, failing } = sources.commands.stats()
  const bytes = spoolBytes(sources)
  const diskFreeBytes = spool.diskFreeBytes ?? Number.POSITIVE_INFINITY
  const room = Math.min(facts.spoolBytesMax - bytes, diskFreeBytes - facts.diskFreeBytesMin)
  const lane = (name: Lane): LaneStatus => {
    const { records, bytes, oldestWallMs } = spool.lanes[name]
    return { records, bytes, lagMs: ageMs(oldestWallMs, nowWallMs) ?? 0 }
  }
  return {
    gatewayId,
    version,
    processId,
    uptimeMs,
    readiness: readinessOf(sources),
    spool: {
      lanes: { priority: lane('priority'), telemetry: lane('telemetry') },
      bytes,
      bytesMax: facts.spoolBytesMax,
      diskFreeBytes: spool.diskFreeBytes,
      diskFreeBytesMin: facts.diskFreeBytesMin,
      growthBytesPerSecond,
      timeToFullMs: timeToFullMs(Math.max(0, room), growthBytesPerSecond),
      bytesWritten: spool.bytesWritten,
      evicted: spool.evicted,
      quarantinedBlocks: spool.quarantinedBlocks,
    },
    uplink: uplinkStatus(sources, nowWallMs),
    certificate: sources.certificate?.status() ?? null,
    broker: { connections: sources.broker.stats().connections, listeners: sources.broker.listeners() },
    commands: { waiting, sent, delivered, ended, failing },
    devices: sources.broker.devices(),
  }
}

/** Bytes of all lanes. */
export function spoolBytes({ spool }: HealthSources): number {
  const { lanes } = spool.stats()
  return LANES.reduce((sum, lane) => sum + lanes[lane].bytes, 0)
}

function uplinkStatus({ uplink }: HealthSources, nowWallMs: number): EdgeStatus['uplink'] {
  if (uplink === null) return null
  const { state, connected, connectedSinceMs, lastAckWallMs, reconnects, lastError } = uplink.stats()
  return {
    state,
    connected,
    connectedForMs: ageMs(connectedSinceMs, nowWallMs),
    sinceLastAckMs: ageMs(lastAckWallMs, nowWallMs),
    reconnects,
    lastError,
  }
}

/** The wall clock may have been stepped back since: an age is never negative. */
function ageMs(thenMs: number | null, nowMs: number): number | null {
  return thenMs === null ? null : Math.max(0, nowMs - thenMs)
}
