import { expect, onTestFinished, test } from 'vitest'
import { COMMAND_EVENTS } from '../../../cloud/bus/catalogue.ts'
import { Outbox } from '../../../cloud/bus/outbox.ts'
import { type OutboxCounts, OutboxStore } from '../../../cloud/bus/outbox-store.ts'
import { OutboxUpkeep } from '../../../cloud/bus/outbox-upkeep.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { silentLogger } from '../../../shared/log.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { numbered } from '../../support/outbox-relay.ts'
import { until } from '../../support/until.ts'

const KEPT_MS = 3_600_000

function upkeepOf(database: DatabaseHandle, clock: ManualClock): { counts: () => OutboxCounts | null } {
  let latest: OutboxCounts | null = null
  const upkeep = new OutboxUpkeep({
    store: new OutboxStore(database, 'core-a'),
    keptMs: KEPT_MS,
    leaseMs: 15_000,
    failuresMax: 10,
    leased: () => [],
    onCounted: (counts) => {
      latest = counts
    },
    clock,
    log: silentLogger,
  })
  onTestFinished(() => upkeep.stop())
  upkeep.start()
  return { counts: () => latest }
}

await describeOnEveryDatabase('the upkeep of the outbox', (databases) => {
  test('removes what was sent long enough ago, and nothing else', async () => {
    const [database, clock] = [await databases.open(), new ManualClock()]
    const outbox = new Outbox({ database, clock })
    await database.transaction((transaction) => outbox.append(numbered(COMMAND_EVENTS, 1_300, 7), transaction))
    const rows = await database.kysely.selectFrom('outbox').select('id').orderBy('id').execute()
    const sent = (from: number, to: number, sentAtMs: number) =>
      database.kysely
        .updateTable('outbox')
        .set({ sent_at_ms: sentAtMs })
        .where('id', '>=', rows[from]?.id as number)
        .where('id', '<=', rows[to - 1]?.id as number)
        .execute()
    await sent(0, 1_200, clock.wallMs() - KEPT_MS)
    await sent(1_200, 1_250, clock.wallMs())
    upkeepOf(database, clock)
    clock.advance(60_000)
    const left = () => database.kysely.selectFrom('outbox').select('value').orderBy('id').execute()
    await until(async () => {
      clock.advance(20)
      return (await left()).length === 100
    })
    expect((await left()).map(({ value }) => Number(value))).toEqual(Array.from({ length: 100 }, (_, i) => 1_200 + i))
  })

  test('counts what is due and what was set aside', async () => {
    const [database, clock] = [await databases.open(), new ManualClock()]
    const outbox = new Outbox({ database, clock })
    const append = (count: number, availableAtMs?: number) => {
      const records = numbered(COMMAND_EVENTS, count, 3).map((record) => ({
        ...record,
        ...(availableAtMs === undefined ? {} : { availableAtMs }),
      }))
      return database.transaction((transaction) => outbox.append(records, transaction))
    }
    const { counts } = upkeepOf(database, clock)
    await until(() => counts() !== null)
    expect(counts()).toEqual({ waiting: 0, oldestMs: null, setAside: 0 })
    const startMs = clock.wallMs()
    await append(2)
    await database.kysely.updateTable('outbox').set({ failures: 10 }).execute()
    clock.advance(1_000)
    await append(3)
    await append(4, startMs + 86_400_000)
    clock.advance(5_000)
    await until(() => counts()?.waiting !== 0)
    expect(counts()).toEqual({ waiting: 3, oldestMs: startMs + 1_000, setAside: 2 })
  })
})
