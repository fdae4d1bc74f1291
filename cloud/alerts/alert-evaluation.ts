/**
 * Judges the readings of `device-telemetry` by the alert rules, and tells of the changes on `device-status`. How a rule stands at a
 * device is in the database, with its alerts and with what people are told, all in one transaction; a batch in which nothing
 * changes reads once and writes nothing. Offsets are committed after that, so a batch may come again: it changes nothing then.
 */

import type { Clock, Timer } from '../../shared/clock.ts'
import { ComplaintLimit } from '../../shared/complaint-limit.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { Bus } from '../bus/bus.ts'
import { DEVICE_STATUS, DEVICE_TELEMETRY, NOTIFICATION_GROUP } from '../bus/catalogue.ts'
import type { Parking } from '../bus/parking.ts'
import { type ConsumedItem, RecordConsumer, type RecordConsumerStats } from '../bus/record-consumer.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Notice, Notifier } from '../notifications/notifications.ts'
import type { DeviceEvent, Reading } from '../registry/device-event.ts'
import { statusNotice } from './alert-notices.ts'
import { AlertRuleStore } from './alert-rule-store.ts'
import type { AlertRules } from './alert-rules.ts'
import type { AlertState, Track } from './alert-state.ts'
import { AlertStateStore, type StateKey, type StoredState } from './alert-state-store.ts'
import { AlertStore } from './alert-store.ts'
import { CaseFile } from './case-file.ts'
import { decodeEvent, type EvaluatedEvent } from './evaluated-event.ts'
import { JudgedTimes } from './judged-times.ts'
import { type Case, judge, judgeQuiet, type Outcome } from './judgement.ts'
import { RuleBook } from './rule-book.ts'

export interface AlertEvaluationOptions {
  readonly bus: Pick<Bus, 'subscribe' | 'publish'>
  readonly database: DatabaseHandle
  /** Of this core: what is changed there counts here at once. */
  readonly rules: Pick<AlertRules, 'onChanged'>
  readonly notifier: Notifier
  /** What waited in a gateway for longer is past, milliseconds. */
  readonly freshMs: number
  /** How often it is asked for what other cores changed, milliseconds. */
  readonly rulesRefreshMs: number
  readonly parking: Parking
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** Totals since the start; `rules` and `open` are as of the last refresh. */
export interface AlertEvaluationStats {
  /** Enabled rules. */
  readonly rules: number
  /** Open alerts of all cores. */
  readonly open: number
  /** Readings that some rule was asked about. */
  readonly evaluated: number
  /** Records that no rule and nobody wants, unusable ones among them: those are dead letters of analytics. */
  readonly skipped: number
  readonly opened: number
  readonly closed: number
  /** Alerts found after the fact. */
  readonly past: number
  /** Changes of status that subscribers were told of. */
  readonly statuses: number
  readonly consumer: RecordConsumerStats
}

/** Judged before everything else in the process gets its turn. */
const CASES_PER_TURN = 1_000
/** Rules that change while a batch is judged make it be judged again, so often before it is left for later. */
const ROUNDS_MAX = 5

export class AlertEvaluation implements Part {
  readonly name = 'alert evaluation'
  private readonly options: AlertEvaluationOptions
  private readonly rules: AlertRuleStore
  private readonly states: AlertStateStore
  private readonly alerts: AlertStore
  private readonly consumer: RecordConsumer<EvaluatedEvent>
  private readonly book = new RuleBook()
  private readonly judgedTimes = new JudgedTimes()
  private readonly counts = { evaluated: 0, skipped: 0, opened: 0, closed: 0, past: 0, statuses: 0 }
  private open = 0
  private signature: string | null = null
  private timer: Timer | null = null
  private refreshing: Promise<void> | null = null
  private readonly complaints: ComplaintLimit
  private stopped = false

  constructor(options: AlertEvaluationOptions) {
    this.complaints = new ComplaintLimit(options.clock)
    const { bus, database, rules, parking, clock, random, log } = options
    this.options = options
    this.rules = new AlertRuleStore(database)
    this.states = new AlertStateStore(database)
    this.alerts = new AlertStore(database)
    this.consumer = new RecordConsumer<EvaluatedEvent>({
      name: this.name,
      bus,
      group: NOTIFICATION_GROUP,
      topics: [DEVICE_TELEMETRY, DEVICE_STATUS],
      decode: (record) => decodeEvent(record, this.book),
      handle: (items) => this.handle(items),
      parking,
      clock,
      random,
      log,
    })
    rules.onChanged(() => this.refreshQuietly())
  }

  /** @throws BusbarError DATABASE_UNAVAILABLE, TOPIC_MISSING */
  async start(): Promise<void> {
    if (this.timer !== null || this.stopped) return
    const { clock, rulesRefreshMs } = this.options
    this.timer = clock.every(rulesRefreshMs, () => {
      this.refreshing ??= this.refreshQuietly().finally(() => {
        this.refreshing = null
      })
    })
    await this.refresh()
    await this.consumer.start()
  }

  /** Finishes the batch in hand and leaves the group. */
  async stop(): Promise<void> {
    this.stopped = true
    this.timer?.cancel()
    await this.consumer.stop()
    await this.refreshing
  }

  stats(): AlertEvaluationStats {
    return { rules: this.book.size, open: this.open, ...this.counts, consumer: this.consumer.stats() }
  }

  /** Takes over what was changed, here or on another core. @throws BusbarError DATABASE_UNAVAILABLE */
  async refresh(): Promise<void> {
    // Before the rules themselves: what changes in between is seen the next time.
    const signature = await this.rules.signature()
    if (signature !== this.signature) {
      this.book.replace(await this.rules.enabled())
      this.signature = signature
    }
    this.open = await this.alerts.countOpen()
  }

  private async refreshQuietly(): Promise<void> {
    try {
      await this.refresh()
    } catch (error) {
      const { log } = this.options
      if (this.stopped || !this.complaints.isDue()) return
      log.warn({ error: messageOf(error) }, 'alert rules could not be refreshed; the known ones go on')
    }
  }

  /** Resolves when every effect is durable. */
  private async handle(items: readonly ConsumedItem<EvaluatedEvent>[]): Promise<void> {
    const readings: { readonly reading: Reading; readonly track: Track }[] = []
    const notices: Notice[] = []
    for (const { value } of items) {
      if (value.kind === 'reading') readings.push({ reading: value.event, track: this.trackOf(value.event) })
      else if (value.kind === 'status' && this.trackOf(value.event) === 'live') notices.push(statusNotice(value.event))
    }
    for (let round = 1; ; round++) {
      const file = new CaseFile(this.book, readings)
      if (await this.settle(file, notices)) break
      if (round === ROUNDS_MAX) {
        throw new BusbarError('the alert rules change too often', { code: 'ALERT_RULES_BUSY', retryable: true })
      }
      await this.refresh()
    }
    this.counts.evaluated += readings.length
    this.counts.statuses += notices.length
    this.counts.skipped += items.length - readings.length - notices.length
  }

  /** What waited for longer than `freshMs`, in a gateway or as a dead letter, is no news; a short blip of the link must not lose an alarm. */
  private trackOf({ backfill, replayed, busAtMs, receivedAtMs }: DeviceEvent): Track {
    return (backfill || replayed) && busAtMs - receivedAtMs > this.options.freshMs ? 'past' : 'live'
  }

  /** False when the rules are not as they are known here. */
  private async settle(file: CaseFile, notices: readonly Notice[]): Promise<boolean> {
    const stored = file.cases.length === 0 ? [] : await this.states.ofDevices(file.deviceIds())
    if (file.isOutdatedBy(stored)) return false
    const outcomes = await this.judgeAll(file.cases, file.statesOf(stored))
    const changing = file.cases.filter((_, i) => outcomes[i]?.changed)
    if (changing.length > 0 || notices.length > 0) {
      if (!(await this.store(file, changing, notices))) return false
    }
    // Only now: what was not stored comes again, and must be judged again.
    file.cases.forEach(({ rule, deviceId, track }, i) => {
      const atMs = outcomes[i]?.state.atMs ?? Number.NEGATIVE_INFINITY
      if (Number.isFinite(atMs)) this.judgedTimes.note(rule, deviceId, track, atMs)
    })
    return true
  }

  /** All or nothing; false when a rule is not what it was. Judges again, by states that nobody else can change meanwhile. */
  private async store(file: CaseFile, changing: readonly Case[], notices: readonly Notice[]): Promise<boolean> {
    const { database, notifier, clock } = this.options
    const nowMs = clock.wallMs()
    const keys = changing.map(({ rule, deviceId, track }): StateKey => ({ ruleId: rule.id, deviceId, track }))
    const outcomes = await database.transaction(async (transaction) => {
      if (keys.length === 0) {
        await notifier.notify(notices, transaction)
        return []
      }
      // First, in the order of everybody who changes rules: from now on no rule changes.
      const versions = await this.rules.holdVersions([...new Set(keys.map(({ ruleId }) => ruleId))], transaction)
      if (changing.some(({ rule }) => versions.get(rule.id) !== rule.version)) return null
      const states = file.statesOf(await this.states.lock(keys, transaction))
      const judged = await this.judgeAll(changing, states)
      const changed = judged.flatMap((outcome, i) => {
        const { rule } = changing[i] as Case
        return outcome.changed ? [{ ...(keys[i] as StateKey), ruleVersion: rule.version, state: outcome.state }] : []
      }) satisfies StoredState[]
      await this.states.write(changed, transaction)
      const findings = judged.flatMap((outcome) => outcome.findings).sort((a, b) => (a.id < b.id ? -1 : 1))
      await this.alerts.write(findings, nowMs, transaction)
      const told = [...notices, ...judged.flatMap((outcome) => outcome.notices)]
      if (told.length > 0) await notifier.notify(told, transaction)
      return judged
    })
    if (outcomes === null) return false
    notifier.nudge()
    this.count(outcomes)
    return true
  }

  private async judgeAll(cases: readonly Case[], stateOf: (each: Case) => AlertState | null): Promise<Outcome[]> {
    const outcomes: Outcome[] = []
    for (const each of cases) {
      if (outcomes.length > 0 && outcomes.length % CASES_PER_TURN === 0) await nextTurn()
      const state = stateOf(each)
      const { rule, deviceId, track } = each
      outcomes.push(judgeQuiet(each, state) ?? judge(each, state, this.judgedTimes.get(rule, deviceId, track)))
    }
    return outcomes
  }

  private count(outcomes: readonly Outcome[]): void {
    for (const { findings } of outcomes) {
      for (const { past, opened, closeReason } of findings) {
        if (past) this.counts.past += opened === null ? 0 : 1
        else {
          this.counts.opened += opened === null ? 0 : 1
          this.counts.closed += closeReason === null ? 0 : 1
        }
      }
    }
  }
}
