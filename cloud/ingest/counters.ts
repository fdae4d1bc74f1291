/** What the ingest did since it started, for metrics. */

export interface IngestStats {
  /** Records published as readings, status changes or dead letters. */
  readonly recordsPublished: number
  /** Records that the cloud had already; dropped. */
  readonly duplicatesDropped: number
  /** Status reports that changed nothing; dropped, as the contract wants changes only. */
  readonly statusUnchanged: number
  /** What devices and gateways said of commands, stored with their cursors. */
  readonly commandReports: number
  /** Records whose timestamp was unreadable or in the future, published with the time of receipt. */
  readonly timestampsRefused: number
  /** Dead letters by code. */
  readonly deadLettered: Readonly<Record<string, number>>
  /** Records that gateways gave up, by reason. */
  readonly recordsLost: Readonly<Record<string, number>>
  readonly blocks: number
  /** Block data, bytes. */
  readonly bytes: number
  /** Batches published, and the time from the begin of publishing to all of it durable, milliseconds in total. */
  readonly batches: number
  readonly publishMs: number
  /** Publishing or storing cursors failed and was tried again. */
  readonly retries: number
  /** Streams refused or ended by the cloud, by gRPC status name. */
  readonly streamsEnded: Readonly<Record<string, number>>
  /** Connections that were cut before a gateway was admitted on them, by reason. */
  readonly strangersDismissed: Readonly<Record<string, number>>
  /** TLS handshakes that failed, by code. */
  readonly handshakesFailed: Readonly<Record<string, number>>
  /** Gateways connected now. */
  readonly gateways: number
  /** Connections on which no gateway is admitted, now. */
  readonly strangers: number
  /** Credit given out and block data on the way, bytes. */
  readonly reservedBytes: number
  /** Records decoded and not yet published, bytes as estimated. */
  readonly decodedBytes: number
}

const HANDSHAKE_CODES_MAX = 50

/** The counting half of `IngestStats`. */
export class IngestCounters {
  recordsPublished = 0
  duplicatesDropped = 0
  statusUnchanged = 0
  commandReports = 0
  timestampsRefused = 0
  blocks = 0
  bytes = 0
  batches = 0
  publishMs = 0
  retries = 0
  readonly deadLettered: Record<string, number> = {}
  readonly recordsLost: Record<string, number> = {}
  readonly streamsEnded: Record<string, number> = {}
  readonly strangersDismissed: Record<string, number> = {}
  readonly handshakesFailed: Record<string, number> = {}

  snapshot(): Omit<IngestStats, 'gateways' | 'strangers' | 'reservedBytes' | 'decodedBytes'> {
    const { deadLettered, recordsLost, streamsEnded, strangersDismissed, handshakesFailed } = this
    return {
      recordsPublished: this.recordsPublished,
      duplicatesDropped: this.duplicatesDropped,
      statusUnchanged: this.statusUnchanged,
      commandReports: this.commandReports,
      timestampsRefused: this.timestampsRefused,
      blocks: this.blocks,
      bytes: this.bytes,
      batches: this.batches,
      publishMs: this.publishMs,
      retries: this.retries,
      deadLettered: { ...deadLettered },
      recordsLost: { ...recordsLost },
      streamsEnded: { ...streamsEnded },
      strangersDismissed: { ...strangersDismissed },
      handshakesFailed: { ...handshakesFailed },
    }
  }

  deadLetter(code: string): void {
    this.deadLettered[code] = (this.deadLettered[code] ?? 0) + 1
  }

  lost(reason: string, records: number): void {
    this.recordsLost[reason] = (this.recordsLost[reason] ?? 0) + records
  }

  dismissed(why: string): void {
    this.strangersDismissed[why] = (this.strangersDismissed[why] ?? 0) + 1
  }

  /** The codes are the TLS library's, of which strangers cause what they like: there is an end to their number. */
  handshakeFailed(code: string): void {
    const isKnown = code in this.handshakesFailed || Object.keys(this.handshakesFailed).length < HANDSHAKE_CODES_MAX
    const counted = isKnown ? code : 'OTHER'
    this.handshakesFailed[counted] = (this.handshakesFailed[counted] ?? 0) + 1
  }

  ended(statusName: string): void {
    this.streamsEnded[statusName] = (this.streamsEnded[statusName] ?? 0) + 1
  }
}
