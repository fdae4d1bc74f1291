/** Questions about telemetry: series for charts, whether everything is there, and exports. Answers come from the database. */

import type { Clock } from '../../shared/clock.ts'
import { type ExportStats, Exports } from '../../shared/exports.ts'
import type { Logger } from '../../shared/log.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Registry } from '../registry/registry.ts'
import { includesSite, type SiteScope } from '../registry/site-scope.ts'
import {
  type Arrived,
  FIRST_REPORT_MS,
  type GatewayShare,
  type Judgement,
  judge,
  judgedUntil,
  mayConcern,
  type Underway,
} from './completeness.ts'
import { CompletenessStore, type Subject } from './completeness-store.ts'
import { exportChunks } from './export.ts'
import { type ExportFormat, exportWriter } from './export-format.ts'
import {
  chooseRollups,
  keptSince,
  type ResolutionName,
  resolutionOf,
  type Stretch,
  stepsOf,
  type TelemetrySettings,
} from './series-plan.ts'
import { POINTS_DEFAULT, POINTS_MIN, type SeriesAnswer, type SeriesQuestion, SeriesReader } from './series-reader.ts'
import { type QueriedDevice, SeriesStore } from './series-store.ts'
import { NotFoundError, QueryRefusedError, type RefusedValue } from './telemetry-queries-errors.ts'

export interface TelemetryQueriesOptions {
  readonly database: DatabaseHandle
  readonly registry: Pick<Registry, 'sites' | 'gateways' | 'devices'>
  readonly settings: TelemetrySettings
  /** How this core's analytics is; only what it says of the present counts. */
  readonly analytics: { stats(): Pick<Underway, 'failing' | 'behindMs'> }
  readonly clock: Clock
  readonly log: Logger
}

/** Devices by id, or all of a site; one of the two. */
export interface DeviceChoice {
  readonly deviceIds?: readonly number[] | undefined
  readonly siteId?: number | undefined
  /** What is elsewhere does not exist for whoever asks. Default all. */
  readonly sites?: SiteScope
}

export interface Completeness extends Judgement {
  /** Until when the verdict counts, Unix milliseconds. */
  readonly judgedUntilMs: number
  readonly arrived: Arrived
  readonly gateways: readonly (GatewayShare & {
    /** Whether some of its backlog may have been received within the stretch. */
    readonly mayConcern: boolean
  })[]
}

export interface ExportQuestion extends DeviceChoice, Stretch {
  readonly format: ExportFormat
  readonly resolution: ResolutionName
  /** Absent for all. */
  readonly fields?: readonly string[] | undefined
}

/** Devices read at once where those of a site are walked through. */
const DEVICES_PER_PAGE = 500
/** Devices that one export may name; those of a site are not limited. */
const EXPORT_DEVICES_MAX = 500
/** Device ids are 32-bit in the database. */
const DEVICE_ID_MAX = 2 ** 31 - 1
/** Buckets of what arrived, where none are asked for, and at most. */
export const BUCKETS_DEFAULT = 50
export const BUCKETS_MAX = 1_000
/** Gateways of a site that are told of. */
const GATEWAYS_MAX = 500

export class TelemetryQueries {
  private readonly options: TelemetryQueriesOptions
  private readonly store: SeriesStore
  private readonly completenessStore: CompletenessStore
  private readonly reader: SeriesReader
  private readonly exports: Exports

  constructor(options: TelemetryQueriesOptions) {
    this.options = options
    this.store = new SeriesStore(options.database)
    this.completenessStore = new CompletenessStore(options.database)
    this.reader = new SeriesReader(this.store, options.settings)
    this.exports = new Exports('telemetry', options.log)
  }

  /** A series of each field of each device. @throws QueryRefusedError, NotFoundError, BusbarError DATABASE_UNAVAILABLE */
  async series(question: SeriesQuestion & DeviceChoice): Promise<SeriesAnswer> {
    const { seriesMax, seriesPointsMax } = this.options.settings
    const { pointsMax = POINTS_DEFAULT, fields } = question
    refuse([
      ...disorder(question),
      ...(pointsMax >= POINTS_MIN && pointsMax <= seriesPointsMax
        ? []
        : [{ field: 'maxPoints', value: pointsMax, remedy: `${POINTS_MIN} to ${seriesPointsMax}` }]),
    ])
    const devicesMax = Math.floor(seriesMax / fields.length)
    const devices = await this.devicesOf(question, devicesMax, `an answer has ${seriesMax} series at most`)
    return await this.reader.read(question, devices, this.options.clock.wallMs())
  }

  /** @param buckets of what arrived, at most so many. @throws QueryRefusedError, NotFoundError, BusbarError DATABASE_UNAVAILABLE */
  async completeness(subject: Subject, stretch: Stretch, buckets = BUCKETS_DEFAULT): Promise<Completeness> {
    refuse(disorder(stretch))
    const nowMs = this.options.clock.wallMs()
    const kept = keptSince(this.options.settings, nowMs)
    const gatewayIds = await this.gatewaysOf(subject, stretch)
    // Asked before it is looked at what came of it: what is set aside or on its way then, and arrives meanwhile, is told too often.
    const { failing, behindMs } = this.options.analytics.stats()
    const notTakenIn = await this.completenessStore.notTakenIn(subject, stretch.fromMs)
    const [arrived, gateways] = await Promise.all([
      this.arrived(subject, stretch, buckets, nowMs),
      Promise.all(gatewayIds.map((id) => this.shareOf(id))),
    ])
    const losses = await this.completenessStore.losses(gatewayIds, stretch)
    const shares = gateways.map((gateway) => ({
      ...gateway,
      ...(losses.get(gateway.gatewayId) ?? { lost: [], lostAtUnknownTime: [], gaps: [] }),
    }))
    const oldestKeptMs = Math.min(...Object.values(kept))
    const judgement = judge(stretch, shares, { failing, behindMs, ...notTakenIn }, nowMs, oldestKeptMs)
    const judgedUntilMs = judgedUntil(stretch, nowMs)
    return {
      ...judgement,
      judgedUntilMs,
      arrived,
      gateways: shares.map((share) => ({ ...share, mayConcern: mayConcern(share.backlog, judgedUntilMs) })),
    }
  }

  /**
   * Text of the export as it is read; see `pulledStream`. Its first page is read before this resolves, so that a database
   * that is away is told as a problem.
   * @param signal aborted when the client has gone.
   * @throws QueryRefusedError, NotFoundError, BusbarError DATABASE_UNAVAILABLE, EXPORTS_BUSY
   */
  async export(question: ExportQuestion, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    refuse(disorder(question))
    const { resolution, format, fields = null } = question
    const devices =
      question.deviceIds === undefined
        ? this.devicesOfSite(await this.site(question))
        : each(await this.devicesOf(question, EXPORT_DEVICES_MAX, `an export names ${EXPORT_DEVICES_MAX} at most`))
    const writer = exportWriter(format, resolution, fields)
    const chunks = exportChunks(this.store, devices, resolution, question, writer)
    return await this.exports.begin(chunks, signal)
  }

  stats(): ExportStats {
    return this.exports.stats()
  }

  /** The devices that are named, or those of the site. @param limit why there may be no more than `max`. */
  private async devicesOf(choice: DeviceChoice, max: number, limit: string): Promise<QueriedDevice[]> {
    const { deviceIds, siteId, sites = 'all' } = choice
    if (deviceIds === undefined) {
      const devices = await this.store.devicesOfSite(await this.site(choice), 0, max + 1)
      if (devices.length <= max) return devices
      throw new QueryRefusedError([
        {
          field: 'siteId',
          value: siteId,
          remedy: `a site of at most ${max} devices, or some of them by deviceId: ${limit}`,
        },
      ])
    }
    const ids = [...new Set(deviceIds)]
    if (ids.length > max) {
      const remedy = `at most ${max} devices with so many fields: ${limit}`
      throw new QueryRefusedError([{ field: 'deviceId', value: `${ids.length} devices`, remedy }])
    }
    // A greater one is none that the database could hold.
    const devices = await this.store.devices(
      ids.filter((id) => id <= DEVICE_ID_MAX),
      sites,
    )
    const found = new Set(devices.map(({ deviceId }) => deviceId))
    const missing = ids.filter((id) => !found.has(id))
    if (missing.length > 0) throw new NotFoundError('device', missing)
    return devices
  }

  private async site({ siteId, sites = 'all' }: DeviceChoice): Promise<number> {
    const site =
      siteId === undefined || !includesSite(sites, siteId) ? null : await this.options.registry.sites.get(siteId)
    if (site === null) throw new NotFoundError('site', [siteId ?? 0])
    return site.id
  }

  private async *devicesOfSite(siteId: number): AsyncGenerator<QueriedDevice, void, void> {
    let page: QueriedDevice[] = []
    do {
      page = await this.store.devicesOfSite(siteId, page.at(-1)?.deviceId ?? 0, DEVICES_PER_PAGE)
      yield* page
    } while (page.length === DEVICES_PER_PAGE)
  }

  private async arrived(subject: Subject, stretch: Stretch, buckets: number, nowMs: number): Promise<Arrived> {
    const kept = keptSince(this.options.settings, nowMs)
    const devices = await this.completenessStore.devices(subject)
    const choice = { ...stretch, pointsMax: buckets, devices, fields: 1, readings: 0 }
    const resolution = resolutionOf(chooseRollups(choice, kept))
    const steps = stepsOf(stretch, resolution.ms, Math.max(2, buckets))
    const [counts, uncounted, ends] = await Promise.all([
      this.completenessStore.counts(subject, resolution, steps),
      this.completenessStore.uncounted(),
      this.completenessStore.ends(subject, stretch),
    ])
    return {
      records: counts.reduce((sum, { records }) => sum + records, 0),
      uncounted,
      ...ends,
      bucketMs: steps.stepMs,
      buckets: counts,
    }
  }

  /** Where the readings of the subject come from now, and of a device, where they came from in the stretch. */
  private async gatewaysOf(subject: Subject, stretch: Stretch): Promise<string[]> {
    const { registry } = this.options
    if ('siteId' in subject) {
      const siteId = await this.site(subject)
      return (await registry.gateways.list({ siteId, limit: GATEWAYS_MAX })).items.map(({ id }) => id)
    }
    const [device] = await this.devicesOf({ deviceIds: [subject.deviceId] }, 1, '')
    const former = await this.completenessStore.formerGateways(subject.deviceId, stretch)
    return [...new Set([...(device?.gatewayId == null ? [] : [device.gatewayId]), ...former])]
  }

  private async shareOf(gatewayId: string): Promise<Omit<GatewayShare, 'lost' | 'lostAtUnknownTime' | 'gaps'>> {
    const gateway = await this.options.registry.gateways.get(gatewayId)
    if (gateway === null) return { gatewayId, connected: null, lastSeenAtMs: null, backlog: null }
    const { connected, connectedAtMs, lastSeenAtMs, backlog } = gateway
    // What it held before it was away for hours says nothing of what it holds now.
    const hasReported = (lastSeenAtMs ?? 0) - (connectedAtMs ?? 0) >= FIRST_REPORT_MS
    return { gatewayId, connected, lastSeenAtMs, backlog: hasReported ? backlog : null }
  }
}

function refuse(refused: readonly RefusedValue[]): void {
  if (refused.length > 0) throw new QueryRefusedError(refused)
}

function disorder({ fromMs, toMs }: Stretch): RefusedValue[] {
  if (fromMs < toMs) return []
  const remedy = `a time after \`from\`, which is ${new Date(fromMs).toISOString()}`
  return [{ field: 'to', value: new Date(toMs).toISOString(), remedy }]
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T, void, void> {
  yield* items
}
