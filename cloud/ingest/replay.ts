/**
 * Dead letters of the ingest, read again as a normal intake reads them: what has become understandable since, because its
 * device was registered or this program learnt something, becomes the record that it would have been.
 *
 * A reading is published whenever it was taken: it has its own time. A status is published only when it is newer than the one
 * that the device has, and another one, since consumers take the last one they get for the present one.
 */

import type { Clock } from '../../shared/clock.ts'
import { type DeviceTopic, deviceTopic, parseDeviceTopic } from '../../shared/mqtt-topics.ts'
import type { BusRecord } from '../bus/bus.ts'
import { DEVICE_STATUS, DEVICE_TELEMETRY, deadLetterTopicOf, ORCHESTRATOR_RESPONSES } from '../bus/catalogue.ts'
import type { Intake, IntakeLetter, Refusal, ReplayIntake } from '../dead-letters/dead-letters.ts'
import type { RegisteredDevice } from '../registry/device.ts'
import type { Registry } from '../registry/registry.ts'
import { Batch } from './batch.ts'
import { RecordSorter } from './record-sorter.ts'
import { statusChanges } from './status-changes.ts'

export interface IngestReplayOptions {
  readonly registry: Pick<Registry, 'devices' | 'load' | 'setStatuses'>
  /** What gateways may speak for at present; absent where every one may speak for any site. */
  readonly gatewaySites?: Pick<Registry['gatewaySites'], 'given'>
  /** Whether a device that is not registered will be, by the registry's `load`; a dry run only says so. */
  readonly autoRegister: boolean
  /** How far after its receipt a reading's timestamp may lie, milliseconds. Default 300,000, as of ingest. */
  readonly futureToleranceMs?: number
  readonly clock: Clock
}

/** Which record of which gateway it was. */
interface Origin {
  readonly gatewayId: string
  readonly epoch: string
  readonly sequence: number
  readonly receivedAtMs: number
  readonly backfill: boolean
}

/** Stands for the id that a device gets when it is registered. */
const ID_TO_COME = 2 ** 31 - 1

const DAMAGED: Refusal = {
  code: 'BLOCK_DAMAGED',
  message: 'it is a whole block of records whose bytes were damaged in the gateway, so there is nothing to read again',
}
const COMMAND_ANSWER: Refusal = {
  code: 'COMMAND_ANSWER',
  message: 'it answers a command that has ended since, and the outcome of an ended command is final',
}
const ORIGIN_UNKNOWN: Refusal = {
  code: 'ORIGIN_UNKNOWN',
  message: 'its headers gateway, epoch, seq and receivedAt do not say which record of which gateway it was',
}

export class IngestReplay implements ReplayIntake {
  private readonly options: IngestReplayOptions

  constructor(options: IngestReplayOptions) {
    this.options = options
  }

  /** @throws BusbarError DATABASE_UNAVAILABLE */
  async tryIntake(letter: IntakeLetter, { dryRun }: { readonly dryRun: boolean }): Promise<Intake | Refusal> {
    const { headers, payload } = letter
    if (headers['recordCount'] !== undefined) return DAMAGED
    if (letter.originalTopic === ORCHESTRATOR_RESPONSES) return COMMAND_ANSWER
    const origin = readOrigin(headers)
    if (origin === null) return ORIGIN_UNKNOWN
    const mqttTopic = headers['mqttTopic'] ?? (await this.mqttTopicOf(letter))
    if (typeof mqttTopic !== 'string') return mqttTopic
    const topic = parseDeviceTopic(mqttTopic)
    if (topic?.channel === 'commands' || topic?.channel === 'responses') return COMMAND_ANSWER
    const foreign = topic !== null && (await this.isForeign(origin, topic))
    const found = topic === null || foreign ? null : await this.deviceOf(origin, topic, dryRun)
    const ofSite = foreign ? { foreign } : {}
    const source = topic === null ? { topic } : { topic, device: found?.device ?? null, ...ofSite }
    const { gatewayId, epoch, sequence, receivedAtMs, backfill } = origin
    const { futureToleranceMs = 300_000, clock } = this.options
    const batch = new Batch()
    new RecordSorter({ gatewayId, epoch, futureToleranceMs, clock }).sort(
      { firstSequence: sequence, wallClockMs: receivedAtMs, backfill },
      [{ topic: mqttTopic, payload, delayMs: 0 }],
      [{ first: sequence, last: sequence }],
      new Map([[mqttTopic, source]]),
      batch,
    )
    if (batch.deadLetterCodes.length > 0) return refusalIn(batch)
    const note = found?.isNew === true ? 'the device is not registered yet and will be' : null
    if (batch.statuses.length > 0) return this.statusOf(batch, note)
    const records = batch.topics.get(DEVICE_TELEMETRY) ?? []
    return { records: records.map((record) => replayOf(DEVICE_TELEMETRY, record)), note }
  }

  /** Of a gateway that was not given the site since, what it said stays given up. */
  private async isForeign({ gatewayId }: Origin, { siteId }: DeviceTopic): Promise<boolean> {
    const { gatewaySites } = this.options
    return gatewaySites !== undefined && !(await gatewaySites.given(gatewayId)).includes(siteId)
  }

  private statusOf(batch: Batch, note: string | null): Intake | Refusal {
    const [pending] = batch.statuses
    const { device, report } = pending as (typeof batch.statuses)[number]
    const { status, statusAtMs } = device
    if (statusAtMs !== null && report.time.ms <= statusAtMs) {
      const message = `the device has been ${status} since ${new Date(statusAtMs).toISOString()}, which is later`
      return { code: 'STATUS_OUTDATED', message }
    }
    if (status === report.status) {
      return { code: 'STATUS_UNCHANGED', message: `the device is ${status} already, and only changes are published` }
    }
    const { registry, clock } = this.options
    // The device comes from the database just now.
    const { records, changes } = statusChanges(batch.statuses, new Map(), clock.wallMs())
    const settle = () => registry.setStatuses(changes)
    return { records: records.map((record) => replayOf(DEVICE_STATUS, record)), note, settle }
  }

  /**
   * The device as the database has it; null when it is not registered. Unlike a normal intake it does not move the device to
   * the gateway, which may be another one by now.
   */
  private async deviceOf(
    { gatewayId }: Origin,
    { siteId, serialNumber }: DeviceTopic,
    dryRun: boolean,
  ): Promise<{ readonly device: RegisteredDevice; readonly isNew: boolean } | null> {
    const { registry, autoRegister } = this.options
    const key = { siteId, serialNumber }
    const [stored] = await registry.devices.find([key])
    if (stored !== undefined) return { device: stored, isNew: false }
    if (!autoRegister) return null
    if (!dryRun) {
      const [device = null] = await registry.load(gatewayId, [key])
      return device === null ? null : { device, isNew: false }
    }
    const unnamed = { deviceId: ID_TO_COME, deviceType: 'UNKNOWN', status: null, statusAtMs: null }
    return { device: { ...key, ...unnamed }, isNew: true }
  }

  /** Of a dead letter that does not name it, as those of earlier versions: the only device of that serial number. */
  private async mqttTopicOf({ originalTopic, key }: IntakeLetter): Promise<string | Refusal> {
    const { items } = await this.options.registry.devices.list({ serialNumber: key ?? '', limit: 2 })
    const [device, other] = items
    if (device !== undefined && other === undefined) {
      return deviceTopic(device.siteId, device.serialNumber, originalTopic === DEVICE_STATUS ? 'status' : 'telemetry')
    }
    const which = device === undefined ? 'no device has' : 'several sites have a device of'
    return {
      code: 'DEVICE_UNCLEAR',
      message: `it does not say from which site it came, and ${which} its serial number`,
    }
  }
}

function readOrigin(headers: Readonly<Record<string, string>>): Origin | null {
  const { gateway, epoch, seq, receivedAt, backfill } = headers
  const receivedAtMs = Date.parse(receivedAt ?? '')
  if (gateway === undefined || epoch === undefined || Number.isNaN(receivedAtMs)) return null
  if (seq === undefined || !/^\d{1,16}$/.test(seq) || !Number.isSafeInteger(Number(seq))) return null
  return { gatewayId: gateway, epoch, sequence: Number(seq), receivedAtMs, backfill: backfill === 'true' }
}

function replayOf(topic: string, record: BusRecord) {
  return { topic, record: { ...record, value: Buffer.from(record.value as string) } }
}

/** Why the sorter gave it up, as it wrote it into the dead letter that is not published. */
function refusalIn(batch: Batch): Refusal {
  const letters = [DEVICE_TELEMETRY, DEVICE_STATUS].flatMap((topic) => batch.topics.get(deadLetterTopicOf(topic)) ?? [])
  const { error } = JSON.parse(String(letters[0]?.value)) as { error: Refusal }
  return { code: error.code, message: error.message }
}
