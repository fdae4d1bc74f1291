/** Several cores publish one outbox, and cores that die while they do. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { COMMAND_EVENTS, TASK_REQUESTED } from '../../../cloud/bus/catalogue.ts'
import { lockClaims } from '../../../cloud/bus/outbox-rows.ts'
import { systemClock } from '../../../shared/clock.ts'
import { bunPath, startChild } from '../../support/child.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { embeddedBus, numbered, relayOver } from '../../support/outbox-relay.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

await describeOnEveryDatabase('several outbox relays', (databases) => {
  test('publish each record once, and each key in its order', async () => {
    const url = await databases.freshUrl()
    const bus = await embeddedBus()
    const reader = await readTopics(bus, [COMMAND_EVENTS, TASK_REQUESTED])
    const told: string[] = []
    // Slower than a claim, so that the cores' publishes overlap.
    const slow = {
      publish: async (...what: Parameters<typeof bus.publish>) => {
        await pause(Math.random() * 20)
        await bus.publish(...what)
      },
    }
    const cores = await Promise.all(
      [1, 2, 3].map(async () => {
        const core = relayOver(await databases.open({ url }), slow, { rowsMax: 25, pollMs: 20 })
        core.outbox.onPublished('test', async (ids) => void told.push(...ids))
        return core
      }),
    )
    const [first] = cores as [(typeof cores)[0]]
    await first.append([...numbered(COMMAND_EVENTS, 600, 40), ...numbered(TASK_REQUESTED, 200, 10, 600)])
    await Promise.all(cores.map(({ relay }) => relay.start()))
    await first.append(numbered(COMMAND_EVENTS, 200, 40, 800))
    const published = () => cores.map(({ relay }) => relay.stats().published)
    await until(() => published().reduce((a, b) => a + b) === 1_000)
    await until(() => reader.records.length >= 1_000)
    expect(reader.records.map(({ value }) => Number(value)).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 1_000 }, (_, i) => i),
    )
    expect(told.map(Number).sort((a, b) => a - b)).toEqual(Array.from({ length: 1_000 }, (_, i) => i))
    expect(published().filter((count) => count > 0).length).toBeGreaterThan(1)
    for (const topic of [COMMAND_EVENTS, TASK_REQUESTED]) {
      for (let key = 0; key < 40; key++) {
        const numbers = reader.records
          .filter((record) => record.topic === topic && record.key === `key-${key}`)
          .map(({ value }) => Number(value))
        expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
      }
    }
  })

  test('publish in order what a core stored whose clock was ahead', async () => {
    const url = await databases.freshUrl()
    const bus = await embeddedBus()
    const reader = await readTopics(bus, [COMMAND_EVENTS])
    const [ahead, now] = [new ManualClock(Date.now() + 3_600_000), systemClock]
    const first = relayOver(await databases.open({ url }), bus, { clock: ahead })
    const second = relayOver(await databases.open({ url }), bus, { clock: now, pollMs: 20 })
    await first.append(numbered(COMMAND_EVENTS, 2, 1))
    await second.append([
      ...numbered(COMMAND_EVENTS, 2, 1, 2),
      { topic: COMMAND_EVENTS, key: 'later', value: 'null', availableAtMs: now.wallMs() + 3_600_000 },
    ])
    await second.relay.start()
    await until(() => reader.records.length === 4)
    expect(reader.records.map(({ value }) => Number(value))).toEqual([0, 1, 2, 3])
  })

  // SQLite has one writer, so there nobody can hold a lock while another one works.
  if (databases.postgres !== null) {
    test('a core that waited for its turn to claim longer than a lease has a whole lease all the same', async () => {
      const url = await databases.freshUrl()
      const other = await databases.open({ url })
      const bus = await embeddedBus()
      const published: string[] = []
      const slow = {
        publish: async (_topic: string, records: Parameters<typeof bus.publish>[1]) => {
          published.push(...records.map(({ value }) => String(value)))
          await pause(400)
        },
      }
      // Renewed too seldom to help.
      const lease = { leaseMs: 3_000, pollMs: 20 }
      const first = relayOver(await databases.open({ url }), slow, lease)
      const second = relayOver(await databases.open({ url }), slow, lease)
      await first.append(numbered(COMMAND_EVENTS, 5, 5))
      const release = Promise.withResolvers<void>()
      const holding = other.transaction(async (transaction) => {
        await lockClaims('postgres')?.execute(transaction)
        await first.relay.start()
        await release.promise
      })
      await pause(3_200)
      release.resolve()
      await holding
      await until(() => published.length > 0)
      await second.relay.start()
      await until(() => first.relay.stats().published === 5)
      expect(published).toHaveLength(5)
      expect(second.relay.stats().published).toBe(0)
    })
  }

  test('do not take what another one is still publishing, however long that takes', async () => {
    const url = await databases.freshUrl()
    const bus = await embeddedBus()
    const reader = await readTopics(bus, [COMMAND_EVENTS])
    const release = Promise.withResolvers<void>()
    let begun = false
    const slow = {
      publish: async (...what: Parameters<typeof bus.publish>) => {
        begun = true
        await release.promise
        await bus.publish(...what)
      },
    }
    const lease = { leaseMs: 600, pollMs: 50 }
    const first = relayOver(await databases.open({ url }), slow, lease)
    const second = relayOver(await databases.open({ url }), bus, lease)
    await first.append(numbered(COMMAND_EVENTS, 10, 5))
    await first.relay.start()
    await until(() => begun)
    await second.relay.start()
    // A record of another key goes out meanwhile; one of the same keys waits for its turn.
    await second.append([...numbered(COMMAND_EVENTS, 5, 5, 10), { topic: COMMAND_EVENTS, key: 'other', value: '99' }])
    await until(() => reader.records.length === 1)
    await pause(1_500)
    expect(reader.records.map(({ value }) => String(value))).toEqual(['99'])
    release.resolve()
    await until(() => reader.records.length === 16)
    for (let key = 0; key < 5; key++) {
      const numbers = reader.records.filter((each) => each.key === `key-${key}`).map(({ value }) => Number(value))
      expect(numbers).toEqual([key, key + 5, key + 10])
    }
  })

  test('take over what a dead core had, when its lease ends', async () => {
    const url = await databases.freshUrl()
    const bus = await embeddedBus()
    const stuck = { publish: () => new Promise<void>(() => {}) }
    const lease = { leaseMs: 900, pollMs: 50 }
    const dead = relayOver(await databases.open({ url }), stuck, lease)
    await dead.append(numbered(COMMAND_EVENTS, 10, 5))
    await dead.relay.start()
    const leased = await databases.open({ url })
    await until(async () => {
      const rows = await leased.kysely.selectFrom('outbox').select('lease_by').execute()
      return rows.every(({ lease_by }) => lease_by !== null)
    })
    // It lets go at once and renews nothing any more: to the others that is a death.
    await dead.relay.stop(AbortSignal.abort())
    const diedMs = performance.now()
    const heir = relayOver(leased, bus, lease)
    await heir.relay.start()
    await until(() => heir.relay.stats().published === 10)
    expect(performance.now() - diedMs).toBeGreaterThan(300)
  })

  test('lose nothing when a core is killed with -9 while it publishes', { timeout: 60_000 }, async () => {
    const url = await databases.freshUrl()
    const database = await databases.open({ url })
    const dir = await mkdtemp(join(tmpdir(), 'busbar-'))
    onTestFinished(() => rm(dir, { recursive: true, force: true }))
    const heir = relayOver(database, { publish: () => Promise.reject(new Error('not used')) })
    const total = 3_000
    await heir.append(numbered(COMMAND_EVENTS, total, 30))
    for (let round = 0; round < 3; round++) {
      let begun = 0
      const core = startChild({
        command: [bunPath, new URL('../../support/outbox-relay-process.ts', import.meta.url).pathname, url, dir],
        onLine: (line) => {
          if (line.startsWith('begun')) begun++
        },
      })
      await until(() => begun >= 5 + round || core.exit !== null, { what: 'the core publishes' })
      expect(core.exit, core.output()).toBe(null)
      await core.kill('SIGKILL')
    }
    const bus = await embeddedBus(dir)
    const last = relayOver(database, bus, { leaseMs: 500, pollMs: 50 })
    await last.relay.start()
    const unsent = () => database.kysely.selectFrom('outbox').select('id').where('sent_at_ms', 'is', null).execute()
    await until(async () => (await unsent()).length === 0)
    const reader = await readTopics(bus, [COMMAND_EVENTS])
    await until(() => new Set(reader.records.map(({ value }) => String(value))).size === total)
    // What was published and not marked yet came again: a claim of a dead core, at most.
    expect(reader.records.length).toBeLessThanOrEqual(total + 3 * 20)
    for (let key = 0; key < 30; key++) {
      const seen = new Set<number>()
      let highest = -1
      for (const record of reader.records) {
        const number = Number(record.value)
        if (record.key !== `key-${key}` || seen.has(number)) continue
        expect(number).toBeGreaterThan(highest)
        highest = number
        seen.add(number)
      }
    }
  })
})

test('a database in memory publishes in the same way', async () => {
  const { openDatabase } = await import('../../../cloud/database/database.ts')
  const { systemClock } = await import('../../../shared/clock.ts')
  const { silentLogger } = await import('../../../shared/log.ts')
  const database = openDatabase({ url: 'memory:', clock: systemClock, log: silentLogger })
  await database.start()
  onTestFinished(() => database.stop())
  const bus = await embeddedBus()
  const reader = await readTopics(bus, [COMMAND_EVENTS])
  const { relay, append } = relayOver(database, bus)
  await relay.start()
  await Promise.all(numbered(COMMAND_EVENTS, 100, 10).map((record) => append([record])))
  await until(() => reader.records.length === 100)
})
