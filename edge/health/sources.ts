/** What the health server asks of the other parts: only numbers that are at hand, never I/O. */

import type { Lane } from '../../shared/lanes.ts'
import type { CertificateStatus } from '../identity/certificate-status.ts'

export interface LaneStats {
  readonly records: number
  readonly bytes: number
  /** When the oldest record was stored, Unix milliseconds; null when there is none. */
  readonly oldestWallMs: number | null
  readonly nextSequence: number
}

export interface SpoolSource {
  readonly accepting: boolean
  /** Accepted, not on disk yet. */
  readonly pendingBytes: number
  stats(): {
    readonly lanes: Readonly<Record<Lane, LaneStats>>
    /** Since the process began. */
    readonly appendedRecords: number
    readonly commits: number
    readonly bytesWritten: number
    /** Records given up since the process began, by reason. */
    readonly evicted: Readonly<Record<string, number>>
    readonly quarantinedBlocks: number
    /** Null when it cannot be told. */
    readonly diskFreeBytes: number | null
    /** Why nothing can be stored; null when all is well. */
    readonly failing: string | null
  }
}

export interface ListenerState {
  /** 'tcp', 'tls' or 'websocket'. */
  readonly kind: string
  readonly host: string
  readonly port: number
  readonly listening: boolean
}

export interface DeviceState {
  readonly siteId: number
  readonly serialNumber: string
  readonly connected: boolean
  /** Unix milliseconds; null when not seen since the process began. */
  readonly lastSeenWallMs: number | null
}

export interface BrokerSource {
  listeners(): readonly ListenerState[]
  devices(): readonly DeviceState[]
  stats(): {
    readonly connections: number
    readonly sessions: number
    /** Since the process began. */
    readonly connectionsAccepted: number
    readonly publishesReceived: number
    /** Connections or packets refused, by reason. */
    readonly refused: Readonly<Record<string, number>>
    /** Messages not delivered to a subscriber, by reason. */
    readonly dropped: Readonly<Record<string, number>>
    /** Connections that have not logged in. */
    readonly halfOpen: number
    /** Times a client was not read for a while because it sent too fast. */
    readonly throttled: number
    /** Times a username or an address was locked out. */
    readonly lockouts: number
  }
}

export interface UplinkSource {
  stats(): {
    /** Name of the state of the link, 'connected' when records flow. */
    readonly state: string
    readonly connected: boolean
    /** Unix milliseconds; null when not connected. */
    readonly connectedSinceMs: number | null
    /** Unix milliseconds; null before the first acknowledgement. */
    readonly lastAckWallMs: number | null
    /** Since the process began. */
    readonly sentRecords: number
    readonly ackedRecords: number
    readonly sentBytes: number
    readonly creditBytes: number
    readonly reconnects: number
    readonly lastError: string | null
  }
}

export interface CertificateSource {
  status(): CertificateStatus
}

export interface CommandsSource {
  stats(): {
    /** Commands now: for their device to be there, on the way to it, and with it without an answer. */
    readonly waiting: number
    readonly sent: number
    readonly delivered: number
    /** Since the process began. */
    readonly stored: number
    readonly refused: number
    readonly deliveries: number
    /** How commands ended since the process began. */
    readonly ended: Readonly<Record<string, number>>
    /** Why commands cannot be stored at present; null when they can. */
    readonly failing: string | null
  }
}

export interface HealthSources {
  readonly spool: SpoolSource
  readonly broker: BrokerSource
  /** Null when uplink.enabled is false. */
  readonly uplink: UplinkSource | null
  /** What this gateway is known by in the cloud; null when uplink.enabled is false. */
  readonly certificate: CertificateSource | null
  readonly commands: CommandsSource
}
