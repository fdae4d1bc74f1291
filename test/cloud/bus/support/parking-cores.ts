/**
 * Cores that consume one topic over one database, on a clock that the test moves. The bus is a list: what counts here is where a
 * core dies, and a real one cannot be told to die there.
 */

import type { BatchHandler, Bus, ConsumedRecord } from '../../../../cloud/bus/bus.ts'
import { Parking, type ParkingOptions } from '../../../../cloud/bus/parking.ts'
import { RecordConsumer } from '../../../../cloud/bus/record-consumer.ts'
import type { DatabaseHandle } from '../../../../cloud/database/database.ts'
import { BusbarError } from '../../../../shared/errors.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

/** Where a core may die. */
export const DEATHS = [
  ...['before an effect', 'after an effect', 'before a transaction', 'after a transaction'],
  ...['before a publish', 'after a publish', 'before a commit'],
] as const
export type Death = (typeof DEATHS)[number]

export interface PlannedRecord {
  readonly key: string | null
  /** How often it fails by itself. */
  readonly fails: number
}

export interface Plan {
  readonly records: readonly PlannedRecord[]
  readonly batchRecords: number
  /** A core dies there when it has come there so often. */
  readonly deaths: readonly { readonly where: Death; readonly after: number }[]
  /** Calls of the handler that meet an outage. */
  readonly outages: readonly number[]
  /** Publishes that fail. */
  readonly refusals: readonly number[]
  /** How long nobody consumes a partition whose core died, milliseconds. */
  readonly orphanedMs: number
  /** After how many batches the partitions change their cores. */
  readonly moveAfter: number
}

export interface Outcome {
  /** Records by number in the order of their effects, repeats included. */
  readonly effects: readonly number[]
  /** Tries by record number, in the order of the dead letters. */
  readonly letters: readonly { readonly n: number; readonly tries: number }[]
  readonly deaths: number
}

export const PARTITIONS = 2
export const SETTINGS = { retries: 2, deviceRetries: 2, retryBaseMs: 50, retryCapMs: 200, parkedMax: 10_000 }
export const TRIES = 3 + SETTINGS.retries
const STEP_MS = 25
const LEASE_MS = 2_000
const STEPS_MAX = 20_000
const DEAD = new BusbarError('this core is dead', { code: 'DEAD', retryable: true })

/** Runs a plan until every record has ended and nothing is set aside. */
export async function runPlan(database: DatabaseHandle, group: string, plan: Plan): Promise<Outcome> {
  const clock = new ManualClock()
  const topic = `topic-of-${group}`
  const log = partitioned(topic, plan.records, clock.wallMs())
  const committed = log.map(() => 0)
  const effects: number[] = []
  const letters: { n: number; tries: number }[] = []
  const tries = plan.records.map(() => 0)
  const visits = new Map<Death, number>()
  const plannedDeaths = new Set(plan.deaths.map(({ where, after }) => `${where} ${after}`))
  let deaths = 0
  let calls = 0
  let publishes = 0
  let batches = 0
  let cores = 0

  /** True when the core dies here. */
  const diesAt = (where: Death): boolean => {
    const visit = visits.get(where) ?? 0
    visits.set(where, visit + 1)
    return plannedDeaths.has(`${where} ${visit}`)
  }

  const handle = (items: readonly { value: { n: number } }[]): void => {
    if (plan.outages.includes(calls++)) throw new BusbarError('away', { code: 'AWAY', retryable: true })
    for (const { value } of items) {
      const { fails } = plan.records[value.n] as PlannedRecord
      if ((tries[value.n] as number) >= fails) continue
      if (items.length === 1) tries[value.n] = (tries[value.n] as number) + 1
      throw new Error(`${value.n} fails`)
    }
    effects.push(...items.map(({ value }) => value.n))
  }

  const startCore = async () => {
    const core = { dead: false, onBatch: null as BatchHandler | null, stop: async (): Promise<void> => {} }
    const alive = () => {
      if (core.dead) throw DEAD
    }
    const die = (where: Death) => {
      alive()
      if (!diesAt(where)) return
      core.dead = true
      deaths++
      throw DEAD
    }
    const bus: Pick<Bus, 'publish' | 'subscribe'> = {
      publish: async (_topic, records) => {
        die('before a publish')
        if (plan.refusals.includes(publishes++)) throw new Error('refused')
        for (const { value } of records) {
          const letter = JSON.parse(String(value)) as { n: number; error: { retryCount: number } }
          letters.push({ n: letter.n, tries: letter.error.retryCount })
        }
        die('after a publish')
      },
      subscribe: async ({ onBatch }) => {
        core.onBatch = onBatch
        return { stop: async () => {} }
      },
    }
    const mortal = Object.create(database, {
      kysely: {
        get: () => {
          alive()
          return database.kysely
        },
      },
      transaction: {
        value: async (work: Parameters<DatabaseHandle['transaction']>[0]) => {
          die('before a transaction')
          const result = await database.transaction(work)
          die('after a transaction')
          return result
        },
      },
    }) as DatabaseHandle
    const tools = { clock, random: systemRandom, log: silentLogger }
    const parking = new Parking({
      database: mortal,
      bus,
      coreId: `${group}-${++cores}`,
      settings: SETTINGS,
      pollMs: 100,
      leaseMs: LEASE_MS,
      ...tools,
    } satisfies ParkingOptions)
    const consumer = new RecordConsumer<{ n: number }>({
      name: 'consumer',
      bus,
      group,
      topics: [topic],
      decode: ({ value }) => JSON.parse(value.toString()) as { n: number },
      handle: async (items) => {
        die('before an effect')
        handle(items)
        die('after an effect')
      },
      parking,
      ...tools,
    })
    core.stop = async () => {
      await consumer.stop()
      await parking.stop()
    }
    await parking.start()
    await consumer.start()
    return { ...core, die, isDead: () => core.dead }
  }

  const running = [await startCore(), await startCore()]
  const everyone = [...running]
  let over = false
  const consume = async (partition: number) => {
    const records = log[partition] as ConsumedRecord[]
    while (!over && (committed[partition] as number) < records.length) {
      const from = committed[partition] as number
      const owner = (partition + Math.floor(batches / plan.moveAfter)) % running.length
      let core = running[owner] as (typeof running)[0]
      if (core.isDead()) {
        core = await startCore()
        running[owner] = core
        everyone.push(core)
      }
      const batch = records.slice(from, from + plan.batchRecords)
      batches++
      try {
        await core.onBatch?.({ topic, partition, records: batch })
        core.die('before a commit')
        committed[partition] = from + batch.length
      } catch {
        const pauseMs = core.isDead() ? plan.orphanedMs : STEP_MS
        await new Promise<void>((resolve) => clock.after(pauseMs, resolve))
      }
    }
  }
  const consuming = Promise.all(log.map((_, partition) => consume(partition)))
  const ended = async (): Promise<boolean> => {
    if (committed.some((offset, partition) => offset < (log[partition]?.length ?? 0))) return false
    const lanes = await database.kysely
      .selectFrom('parked_lanes')
      .leftJoin('parked_records', 'lane_id', 'parked_lanes.id')
      .select('lane_id')
      .where('consumer_group', '=', group)
      .execute()
    if (lanes.some(({ lane_id }) => lane_id === null)) throw new Error('a lane without records was left behind')
    if (lanes.length > 0) return false
    const strays = await database.kysely.selectFrom('parked_records').select('id').execute()
    if (strays.length > 0) throw new Error('records without a lane were left behind')
    return true
  }
  try {
    for (let step = 0; !(await ended()); step++) {
      if (step > STEPS_MAX) throw new Error('it does not come to an end')
      // The dead stay dead until the partition needs somebody; retries need somebody too.
      for (const [index, core] of running.entries()) {
        if (!core.isDead()) continue
        running[index] = await startCore()
        everyone.push(running[index] as (typeof running)[0])
      }
      clock.advance(STEP_MS)
      // Time enough for a database to answer before much of the clock's time has gone by.
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    await consuming
  } finally {
    over = true
    const stopping = Promise.all(everyone.map((core) => core.stop()))
    let stopped = false
    void stopping.finally(() => {
      stopped = true
    })
    while (!stopped) {
      clock.advance(1_000)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await stopping
  }
  return { effects, letters, deaths }
}

function partitioned(topic: string, planned: readonly PlannedRecord[], timestampMs: number): ConsumedRecord[][] {
  const partitions: ConsumedRecord[][] = Array.from({ length: PARTITIONS }, () => [])
  planned.forEach(({ key }, n) => {
    const partition = (key === null ? n : key.charCodeAt(0)) % PARTITIONS
    const records = partitions[partition] as ConsumedRecord[]
    const value = Buffer.from(JSON.stringify({ n }))
    records.push({ topic, partition, offset: BigInt(records.length), key, value, headers: {}, timestampMs })
  })
  return partitions
}
