/** What one publish of a gateway carries, and what is to be stored and acknowledged once it is durable. */

import type { Lane, SequenceRange } from '../../shared/lanes.ts'
import { addRange } from '../../shared/sequence-ranges.ts'
import type { BusRecord } from '../bus/bus.ts'
import type { CommandReport } from '../gateways/gateways.ts'
import type { RegisteredDevice } from '../registry/device.ts'
import type { GatewayGap } from '../registry/gateway-store.ts'
import type { StatusReport } from './status-value.ts'

/** A status report; whether it is a change is decided when what came before it is durable. */
export interface PendingStatus {
  readonly device: RegisteredDevice
  readonly report: StatusReport
  readonly headers: Readonly<Record<string, string>>
}

export class Batch {
  readonly topics = new Map<string, BusRecord[]>()
  readonly statuses: PendingStatus[] = []
  /** What devices and the gateway say of commands, in the order in which it came. */
  readonly reports: CommandReport[] = []
  readonly gaps: GatewayGap[] = []
  /** What to acknowledge. */
  readonly ranges: Record<Lane, SequenceRange[]> = {
    priority: [],
    telemetry: [],
  }
  /** Block data in it, bytes: the credit that comes free. */
  dataBytes = 0
  /** Estimate of the memory that it takes, bytes. */
  decodedBytes = 0
  /** Gateway's wall clock of the newest block in it. */
  newestWallMs = 0
  /** Code of each dead letter in it. */
  readonly deadLetterCodes: string[] = []
  timestampsRefused = 0
  private items = 0

  get isEmpty(): boolean {
    return this.items === 0
  }

  add(topic: string, record: BusRecord): void {
    const records = this.topics.get(topic)
    if (records === undefined) this.topics.set(topic, [record])
    else records.push(record)
  }

  /** A block or gap is in it completely. */
  cover(lane: Lane, range: SequenceRange): void {
    this.items++
    this.ranges[lane] = addRange(this.ranges[lane], range)
  }
}
