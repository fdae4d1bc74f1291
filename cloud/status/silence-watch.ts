/**
 * Devices that fell silent go OFFLINE, and come back ONLINE with the first word that is heard of them. Each change is stored
 * together with its record for `device-status`, so that everybody learns of it or nobody.
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { GroupPosition } from '../bus/bus.ts'
import { DEVICE_STATUS } from '../bus/catalogue.ts'
import type { Outbox } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Duty } from '../database/duty.ts'
import type { Database } from '../database/schema.ts'
import { CLOUD_GATEWAY } from '../registry/device-event.ts'
import { statusRecordValue } from '../registry/status-record.ts'
import { Hearing } from './hearing.ts'
import type { SilenceSettings } from './silence.ts'
import { type MadeChange, SilenceStore, type SilentDevice } from './silence-store.ts'

export interface SilenceWatchOptions {
  readonly database: DatabaseHandle
  readonly outbox: Outbox
  readonly coreId: string
  readonly settings: SilenceSettings
  /** How often devices are looked at, milliseconds. */
  readonly checkPeriodMs: number
  /** As the registry has it: a gateway that was not heard of for longer counts as not connected. Default 60,000. */
  readonly gatewaySilentAfterMs?: number
  /**
   * How far the group has come that notes when devices were heard of; what waits for it may be of any device. Default: it is
   * never behind.
   */
  readonly positions?: () => Promise<readonly GroupPosition[]>
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** Since this core started, but for `silentDevices`. */
export interface SilenceStats {
  /** Devices that are OFFLINE for their silence, of all cores; 0 on the cores that do not have the duty. */
  readonly silentDevices: number
  readonly fellSilent: number
  readonly restored: number
}

/** Devices looked at by one statement, and in one round; the next round goes on from there. */
const DEVICES_PER_STEP = 2_000
const DEVICES_A_ROUND = 20_000
/** Devices that one transaction makes OFFLINE. */
const CLAIMED_AT_ONCE = 500

export class SilenceWatch implements Part {
  readonly name = 'silence-watch'
  private readonly options: SilenceWatchOptions
  private readonly store: SilenceStore
  private readonly duty: Duty
  private lookedThrough = 0
  private readonly hearing: Hearing | null
  private silentDevices = 0
  private fellSilent = 0
  private restored = 0
  /** Something was stored to publish since the last nudge. */
  private owesNudge = false

  constructor(options: SilenceWatchOptions) {
    const { database, coreId, checkPeriodMs: periodMs, positions, clock, log } = options
    this.options = options
    this.hearing = positions === undefined ? null : new Hearing({ positions, clock })
    this.store = new SilenceStore(database)
    const work = (signal: AbortSignal, heldMs: number) => this.look(signal, heldMs)
    this.duty = new Duty({ name: this.name, database, coreId, periodMs, work, clock, log })
  }

  async start(): Promise<void> {
    await this.duty.start()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    await this.duty.stop(deadline)
    this.silentDevices = 0
  }

  /**
   * Makes silent devices ONLINE of which something was heard since; `nudge` once the transaction is committed. To be called
   * after `latest_values.heard_at_ms` was written in the same transaction, so that no silence is found in between.
   * @param heardAtMs device → when it was heard of now, our clock, Unix milliseconds; without what had waited in a gateway.
   */
  async heard(heardAtMs: ReadonlyMap<number, number>, transaction: Transaction<Database>): Promise<void> {
    const changes = await this.store.restore(heardAtMs, this.nowMs(), transaction)
    await this.tell(changes, transaction)
    this.restored += changes.length
    this.owesNudge ||= changes.length > 0
  }

  /** What `heard` stored is committed: publish it without waiting for the next look. */
  nudge(): void {
    // It is called after every write of analytics, and each nudge costs the relay a look at its table.
    if (!this.owesNudge) return
    this.owesNudge = false
    this.options.outbox.nudge()
  }

  /**
   * One round, as the duty calls it.
   * @param heldMs for how long a core has watched without a break, milliseconds: no silence is longer.
   */
  async look(signal: AbortSignal, heldMs: number): Promise<void> {
    let behindMs: number | null = null
    for (let looked = 0; looked < DEVICES_A_ROUND && !signal.aborted; looked += DEVICES_PER_STEP) {
      const throughId = await this.store.stepEnd(this.lookedThrough, DEVICES_PER_STEP)
      if (throughId === null) {
        this.lookedThrough = 0
        break
      }
      let silent = await this.silentBy(0, heldMs, throughId)
      if (silent.length > 0 && this.hearing !== null) {
        // Asked only when it matters, and once a round.
        behindMs ??= await this.hearing.behindMs()
        // Not known yet: the next round goes on here.
        if (behindMs === null) break
        silent = await this.silentBy(behindMs, heldMs, throughId)
      }
      for (let start = 0; start < silent.length && !signal.aborted; start += CLAIMED_AT_ONCE) {
        await this.silence(silent.slice(start, start + CLAIMED_AT_ONCE))
        await nextTurn()
      }
      this.lookedThrough = throughId
      await nextTurn()
    }
    this.silentDevices = await this.store.count()
  }

  stats(): SilenceStats {
    const { silentDevices, fellSilent, restored } = this
    return { silentDevices, fellSilent, restored }
  }

  /** Those up to `throughId` that were silent `agoMs` ago. */
  private async silentBy(agoMs: number, heldMs: number, throughId: number): Promise<SilentDevice[]> {
    const { settings, gatewaySilentAfterMs = 60_000 } = this.options
    const nowMs = this.nowMs()
    const question = {
      settings,
      nowMs: Math.floor(nowMs - agoMs),
      listeningSinceMs: Math.ceil(nowMs - heldMs),
      gatewaysHeardSinceMs: nowMs - gatewaySilentAfterMs,
    }
    return await this.store.silent(question, this.lookedThrough, throughId)
  }

  private async silence(devices: readonly SilentDevice[]): Promise<void> {
    const { database, outbox, log } = this.options
    const changes = await database.transaction(async (transaction) => {
      const claimed = await this.store.claim(devices, this.nowMs(), transaction)
      await this.tell(claimed, transaction)
      return claimed
    })
    if (changes.length === 0) return
    outbox.nudge()
    this.fellSilent += changes.length
    log.info({ devices: changes.length, first: changes[0]?.serialNumber }, 'devices fell silent')
  }

  private async tell(changes: readonly MadeChange[], transaction: Transaction<Database>): Promise<void> {
    if (changes.length === 0) return
    const records = changes.map((change) => ({
      topic: DEVICE_STATUS,
      key: change.serialNumber,
      value: statusRecordValue(change),
      headers: {
        gateway: CLOUD_GATEWAY,
        seq: String(this.drawSequence()),
        epoch: CLOUD_GATEWAY,
        receivedAt: new Date(change.atMs).toISOString(),
      },
    }))
    await this.options.outbox.append(records, transaction)
  }

  /** Drawn once, stored with the record: what is published twice has it both times. Below 2^53, as sequences are. */
  private drawSequence(): number {
    return Number(Buffer.from(this.options.random.bytes(8)).readBigUInt64BE() >> 11n)
  }

  private nowMs(): number {
    return Math.round(this.options.clock.wallMs())
  }
}
