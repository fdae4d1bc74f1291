/** An outbox with its relay over a real embedded bus, for the tests of both. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Bus } from '../../cloud/bus/bus.ts'
import { catalogue } from '../../cloud/bus/catalogue.ts'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { Outbox, type OutboxRecord } from '../../cloud/bus/outbox.ts'
import { OutboxRelay, type OutboxRelayOptions } from '../../cloud/bus/outbox-relay.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'

const never = new AbortController().signal
let cores = 0

/** A started embedded bus with the catalogue's topics, in a directory of its own unless one is given. */
export async function embeddedBus(given?: string): Promise<EmbeddedBus> {
  const dir = given ?? (await mkdtemp(join(tmpdir(), 'busbar-')))
  const bus = new EmbeddedBus({ dir, topics: catalogue(), clock: systemClock, random: systemRandom, log: silentLogger })
  await bus.start()
  onTestFinished(async () => {
    await bus.stop(never)
    if (given === undefined) await rm(dir, { recursive: true, force: true })
  })
  await bus.createTopics()
  return bus
}

export interface RelayUnderTest {
  readonly outbox: Outbox
  readonly relay: OutboxRelay
  /** Appends in a transaction of its own, and nudges. */
  append(records: readonly OutboxRecord[]): Promise<void>
}

/** A relay of a core of its own, not started, stopped when the test ends. */
export function relayOver(
  database: DatabaseHandle,
  bus: Pick<Bus, 'publish'>,
  options: Partial<OutboxRelayOptions> = {},
): RelayUnderTest {
  const clock = options.clock ?? systemClock
  const outbox = options.outbox ?? new Outbox({ database, clock })
  const relay = new OutboxRelay({
    bus,
    database,
    coreId: `core-${++cores}`,
    keptMs: 60_000,
    random: systemRandom,
    log: silentLogger,
    ...options,
    outbox,
    clock,
  })
  onTestFinished(() => relay.stop(AbortSignal.timeout(2_000)))
  return {
    outbox,
    relay,
    async append(records) {
      await database.transaction((transaction) => outbox.append(records, transaction))
      outbox.nudge()
    },
  }
}

/** Numbered records of a topic over some keys. */
export function numbered(topic: string, count: number, keys: number, from = 0): OutboxRecord[] {
  return Array.from({ length: count }, (_, i) => ({
    topic,
    key: `key-${(from + i) % keys}`,
    value: String(from + i),
    owner: { name: 'test', id: String(from + i) },
  }))
}
