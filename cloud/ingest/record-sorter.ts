/** Sorts the records of a gateway's blocks into a batch: readings, status reports, reports of commands, and dead letters. */

import type { Block } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { BlockRecord } from '../../shared/block.ts'
import type { Clock } from '../../shared/clock.ts'
import type { Lane, SequenceRange } from '../../shared/lanes.ts'
import type { DeviceTopic } from '../../shared/mqtt-topics.ts'
import { DEVICE_STATUS, DEVICE_TELEMETRY, deadLetterTopicOf, ORCHESTRATOR_RESPONSES } from '../bus/catalogue.ts'
import { deadLettersOf } from '../bus/dead-letter.ts'
import type { RegisteredDevice } from '../registry/device.ts'
import type { Batch } from './batch.ts'
import { readCommandFact, readResponse } from './command-report.ts'
import type { Source } from './device-lookup.ts'
import { isoFormatter } from './event-time.ts'
import { isRejection, type Rejection } from './json-object.ts'
import { readStatus } from './status-value.ts'
import { telemetryPrefix, telemetryValue } from './telemetry-value.ts'

export interface SorterOptions {
  readonly gatewayId: string
  readonly epoch: string
  /** How far after its receipt a reading's timestamp may lie. */
  readonly futureToleranceMs: number
  readonly clock: Clock
}

type Headers = Record<string, string>

const BAD_TOPIC: Rejection = {
  code: 'BAD_TOPIC',
  message: 'devices do not publish to this topic',
}
const UNKNOWN_DEVICE: Rejection = {
  code: 'UNKNOWN_DEVICE',
  message: 'the device is not registered; register it over the API or set registry.autoRegister, then replay',
}

const SITE_NOT_ALLOWED: Rejection = {
  code: 'SITE_NOT_ALLOWED',
  message: 'its gateway may not speak for this site; give it the site with `busbar-cloud gateway sites`, then replay',
}

export class RecordSorter {
  private readonly options: SorterOptions
  private readonly iso = isoFormatter()
  /** Devices are handed out as the same object until their identity or type changes. */
  private readonly prefixes = new WeakMap<RegisteredDevice, string>()

  constructor(options: SorterOptions) {
    this.options = options
  }

  /** Adds the records of a block whose sequence is in `wanted`; the rest are duplicates. */
  sort(
    block: Pick<Block, 'firstSequence' | 'wallClockMs' | 'backfill'>,
    records: readonly BlockRecord[],
    wanted: readonly SequenceRange[],
    sources: ReadonlyMap<string, Source>,
    batch: Batch,
  ): void {
    const { firstSequence, wallClockMs, backfill } = block
    for (const { first, last } of wanted) {
      for (let sequence = first; sequence <= last; sequence++) {
        const record = records[sequence - firstSequence] as BlockRecord
        const receivedAtMs = wallClockMs + record.delayMs
        const headers = this.headers(sequence, receivedAtMs, backfill)
        this.sortOne(
          record.topic,
          record.payload as Buffer,
          sources.get(record.topic) as Source,
          receivedAtMs,
          headers,
          batch,
        )
      }
    }
  }

  /** A block that cannot be read is kept whole. */
  sortCorrupt(block: Block, lane: Lane, reason: Rejection, batch: Batch): void {
    const topic = lane === 'priority' ? DEVICE_STATUS : DEVICE_TELEMETRY
    const headers = this.headers(block.firstSequence, block.wallClockMs, block.backfill)
    headers['recordCount'] = String(block.recordCount)
    headers['encoding'] = String(block.encoding)
    this.giveUp(topic, null, block.data, reason, headers, batch)
  }

  private sortOne(
    mqttTopic: string,
    payload: Buffer,
    source: Source,
    receivedAtMs: number,
    headers: Headers,
    batch: Batch,
  ): void {
    const { topic } = source
    if (topic === null) {
      headers['mqttTopic'] = mqttTopic
      this.giveUp(DEVICE_TELEMETRY, null, payload, BAD_TOPIC, headers, batch)
      return
    }
    const { serialNumber } = topic
    const isForeign = source.foreign === true
    if (isForeign) headers['mqttTopic'] = mqttTopic
    if (topic.channel === 'commands' || topic.channel === 'responses') {
      if (isForeign) this.giveUp(ORCHESTRATOR_RESPONSES, serialNumber, payload, SITE_NOT_ALLOWED, headers, batch)
      else this.sortReport(topic, payload, receivedAtMs, headers, batch)
      return
    }
    const isTelemetry = topic.channel === 'telemetry'
    const refuse = (reason: Rejection): void => {
      // A replay has to know the site, which the key does not say.
      headers['mqttTopic'] = mqttTopic
      this.giveUp(isTelemetry ? DEVICE_TELEMETRY : DEVICE_STATUS, serialNumber, payload, reason, headers, batch)
    }
    if (source.device === null) {
      refuse(isForeign ? SITE_NOT_ALLOWED : UNKNOWN_DEVICE)
      return
    }
    const { futureToleranceMs } = this.options
    if (!isTelemetry) {
      const report = readStatus(payload, receivedAtMs, futureToleranceMs)
      if (isRejection(report)) {
        refuse(report)
        return
      }
      noteRefused(report.time.refused, headers, batch)
      batch.statuses.push({ device: source.device, report, headers })
      return
    }
    const reading = telemetryValue(this.prefixOf(source.device), payload, receivedAtMs, futureToleranceMs)
    if (isRejection(reading)) {
      refuse(reading)
      return
    }
    noteRefused(reading.refusedTimestamp, headers, batch)
    batch.add(DEVICE_TELEMETRY, {
      key: serialNumber,
      value: reading.value,
      headers,
    })
  }

  /** Whether the device is registered is not asked: the command knows whose it is. */
  private sortReport(
    { channel, siteId, serialNumber }: DeviceTopic,
    value: Buffer,
    receivedAtMs: number,
    headers: Headers,
    batch: Batch,
  ): void {
    const reported = channel === 'commands' ? readCommandFact(value) : readResponse(value)
    if (isRejection(reported)) this.giveUp(ORCHESTRATOR_RESPONSES, serialNumber, value, reported, headers, batch)
    else {
      const { gatewayId } = this.options
      batch.reports.push({ ...reported, gatewayId, siteId, serialNumber, receivedAtMs, value, headers })
    }
  }

  private giveUp(
    originalTopic: string,
    key: string | null,
    payload: Buffer,
    reason: Rejection,
    headers: Headers,
    batch: Batch,
  ): void {
    const atMs = this.options.clock.wallMs()
    batch.deadLetterCodes.push(reason.code)
    const topic = deadLetterTopicOf(originalTopic)
    const letters = deadLettersOf(
      { topic: originalTopic, key, value: payload, headers },
      { source: 'ingest', ...reason, retryCount: 0, atMs },
    )
    for (const letter of letters) batch.add(topic, letter)
  }

  private prefixOf(device: RegisteredDevice): string {
    let prefix = this.prefixes.get(device)
    if (prefix === undefined) {
      prefix = telemetryPrefix(device)
      this.prefixes.set(device, prefix)
    }
    return prefix
  }

  private headers(sequence: number, receivedAtMs: number, backfill: boolean): Headers {
    const { gatewayId, epoch } = this.options
    const receivedAt = this.iso(receivedAtMs)
    const seq = String(sequence)
    return backfill
      ? { gateway: gatewayId, seq, epoch, receivedAt, backfill: 'true' }
      : { gateway: gatewayId, seq, epoch, receivedAt }
  }
}

function noteRefused(timestamp: string | null, headers: Headers, batch: Batch): void {
  if (timestamp === null) return
  headers['deviceTimestamp'] = timestamp
  batch.timestampsRefused++
}
