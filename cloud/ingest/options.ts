/** What the ingest needs to know. */

import type { Clock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { Bus } from '../bus/bus.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { DeviceCommands, Gateways } from '../gateways/gateways.ts'
import type { Registry } from '../registry/registry.ts'
import type { IngestSecurity } from './identity-guard.ts'

export interface IngestOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** TLS, and who is whom by certificate. Absent: plain text on loopback, where every gateway is taken at its word. */
  readonly security?: IngestSecurity
  readonly bus: Pick<Bus, 'publish'>
  readonly database: DatabaseHandle
  readonly registry: Registry
  readonly gateways: Gateways
  /** Takes in what records say of commands. */
  readonly commands: Pick<DeviceCommands, 'record' | 'nudge'>
  /** Block data that one gateway may have on the way. Default 4 MiB. */
  readonly windowBytes?: number
  /** The same for all gateways together, beside a floor of 64 KiB each. Default 64 MiB. */
  readonly inflightBytesMax?: number
  /** Memory for records between decoding and publishing, all gateways together. Default 64 MiB. */
  readonly decodedBytesMax?: number
  /** Default 10,000. */
  readonly gatewaysMax?: number
  /** Connections on which no gateway is admitted; beyond it the oldest is cut. Default 1,000. */
  readonly strangersMax?: number
  /** How far in the future a reading's timestamp may lie. Default 300,000. */
  readonly futureToleranceMs?: number
  /** How long a handshake may take, and then a Hello; a connection may be without a gateway on it for twice as long. Default 10,000. */
  readonly helloTimeoutMs?: number
  /** Default 10,000 and 20,000: over a slow link an answer waits behind the data on its way. */
  readonly keepaliveMs?: number
  readonly keepaliveTimeoutMs?: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}
