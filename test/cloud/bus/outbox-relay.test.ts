import { Writable } from 'node:stream'
import pino from 'pino'
import { expect, test } from 'vitest'
import type { Bus, BusRecord } from '../../../cloud/bus/bus.ts'
import {
  COMMAND_EVENTS,
  ORCHESTRATOR_RESPONSES,
  TASK_REQUESTED,
  USER_ACTIVITY_LOGS,
} from '../../../cloud/bus/catalogue.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { embeddedBus, numbered, relayOver } from '../../support/outbox-relay.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

const never = new AbortController().signal

/** The real bus behind a gate: what is thrown by `before` is what publishing is rejected with. */
function gated(bus: Bus, before: (topic: string, records: readonly BusRecord[]) => Promise<void> | void) {
  const calls: { topic: string; values: string[] }[] = []
  return {
    calls,
    async publish(topic: string, records: readonly BusRecord[]): Promise<void> {
      calls.push({ topic, values: records.map(({ value }) => String(value)) })
      await before(topic, records)
      await bus.publish(topic, records)
    },
  }
}

const away = () => new BusbarError('no broker answers', { code: 'PUBLISH_TIMEOUT', retryable: true })
const tooLarge = () => new BusbarError('the record is too large', { code: 'RECORD_TOO_LARGE', hint: 'Send less.' })

function rowsOf(database: DatabaseHandle) {
  return database.kysely.selectFrom('outbox').selectAll().orderBy('id').execute()
}

function logLines(): { log: pino.Logger; lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = []
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()))
      done()
    },
  })
  return { log: pino({ level: 'info' }, sink), lines }
}

await describeOnEveryDatabase('the outbox relay', (databases) => {
  test('publishes what is stored and tells its owner in the transaction that marks it', async () => {
    const [database, bus] = [await databases.open(), await embeddedBus()]
    const reader = await readTopics(bus, [COMMAND_EVENTS])
    const { outbox, relay, append } = relayOver(database, bus, { pollMs: 60_000 })
    const told: { ids: readonly string[]; sentAtMs: number; marked: number }[] = []
    outbox.onPublished('command', async (ids, sentAtMs, transaction) => {
      const rows = await transaction.selectFrom('outbox').select('id').where('sent_at_ms', '=', sentAtMs).execute()
      told.push({ ids, sentAtMs, marked: rows.length })
    })
    await relay.start()
    const owner = (id: string) => ({ name: 'command', id })
    await append([
      { topic: COMMAND_EVENTS, key: 'cmd-1', value: '{"größe":"€"}', headers: { a: 'ä' }, owner: owner('cmd-1') },
      { topic: COMMAND_EVENTS, key: null, value: '{}', owner: owner('cmd-2') },
      { topic: COMMAND_EVENTS, key: 'cmd-3', value: '{}' },
    ])
    await until(() => relay.stats().published === 3)
    await until(() => reader.records.length === 3)
    expect(reader.records.find(({ key }) => key === 'cmd-1')).toMatchObject({ headers: { a: 'ä' } })
    expect(String(reader.records.find(({ key }) => key === 'cmd-1')?.value)).toBe('{"größe":"€"}')
    expect(told).toEqual([{ ids: ['cmd-1', 'cmd-2'], sentAtMs: expect.any(Number), marked: 3 }])
    for (const row of await rowsOf(database)) {
      expect(row).toMatchObject({ sent_at_ms: told[0]?.sentAtMs, lease_until_ms: null, failures: 0 })
    }
  })

  test('publishes a backlog in few publishes and keeps the order of each key', async () => {
    const [database, bus] = [await databases.open(), await embeddedBus()]
    const reader = await readTopics(bus, [COMMAND_EVENTS])
    const counting = gated(bus, () => {})
    const { relay, append } = relayOver(database, counting)
    await append(numbered(COMMAND_EVENTS, 2_345, 7))
    await relay.start()
    await until(() => relay.stats().published === 2_345)
    await until(() => reader.records.length === 2_345)
    for (let key = 0; key < 7; key++) {
      const numbers = reader.records.filter((each) => each.key === `key-${key}`).map(({ value }) => Number(value))
      expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
    }
    expect(counting.calls.map(({ values }) => values.length)).toEqual([500, 500, 500, 500, 345])
  })

  test('claims no more than a few megabytes at once, and one row whatever its size', async () => {
    const [database, bus] = [await databases.open(), await embeddedBus()]
    const counting = gated(bus, () => {})
    const { relay, append } = relayOver(database, counting, { sizeMax: 1_000 })
    const sizes = [400, 400, 400, 3_000, 400]
    await append(sizes.map((size) => ({ topic: COMMAND_EVENTS, key: null, value: 'x'.repeat(size) })))
    await relay.start()
    await until(() => relay.stats().published === 5)
    expect(counting.calls.map(({ values }) => values.map(({ length }) => length))).toEqual([
      [400, 400, 400],
      [3_000],
      [400],
    ])
  })

  test('does not publish before the time that a record names', async () => {
    const [database, bus] = [await databases.open(), await embeddedBus()]
    const { relay, append } = relayOver(database, bus, { pollMs: 50 })
    await relay.start()
    const availableAtMs = Date.now() + 600
    await append([
      { topic: TASK_REQUESTED, key: 't1', value: 'later', availableAtMs },
      { topic: TASK_REQUESTED, key: 't2', value: 'now' },
    ])
    await until(() => relay.stats().published === 2)
    const [later, now] = await rowsOf(database)
    expect(later?.sent_at_ms).toBeGreaterThanOrEqual(availableAtMs)
    expect(now?.sent_at_ms).toBeLessThan(availableAtMs)
  })

  test('many nudges at once share a publish', async () => {
    const [database, bus] = [await databases.open(), await embeddedBus()]
    const counting = gated(bus, () => {})
    const { relay, append } = relayOver(database, counting, { pollMs: 60_000 })
    await relay.start()
    await Promise.all(numbered(COMMAND_EVENTS, 200, 200).map((record) => append([record])))
    await until(() => relay.stats().published === 200)
    expect(counting.calls.length).toBeLessThan(60)
  })

  test('while the bus is away rows wait, use up no try, and go out in order when it is back', async () => {
    const [database, bus] = [await databases.open(), await embeddedBus()]
    const reader = await readTopics(bus, [COMMAND_EVENTS])
    const { log, lines } = logLines()
    let gone = true
    const flaky = gated(bus, () => {
      if (gone) throw away()
    })
    const { relay, append } = relayOver(database, flaky, { log })
    await relay.start()
    await append(numbered(COMMAND_EVENTS, 20, 4))
    await until(() => flaky.calls.length >= 4)
    expect(relay.stats()).toMatchObject({ published: 0, setAside: 0, failing: expect.stringContaining('no broker') })
    await append(numbered(COMMAND_EVENTS, 20, 4, 20))
    for (const row of await rowsOf(database)) expect(row).toMatchObject({ failures: 0, sent_at_ms: null })
    gone = false
    await until(() => relay.stats().published === 40)
    await until(() => reader.records.length === 40)
    for (let key = 0; key < 4; key++) {
      const numbers = reader.records.filter((each) => each.key === `key-${key}`).map(({ value }) => Number(value))
      expect(numbers).toEqual(Array.from({ length: 10 }, (_, i) => key + 4 * i))
    }
    expect(relay.stats().failing).toBe(null)
    const told = lines.map(({ msg }) => msg)
    expect(told).toEqual(['outbox cannot be published; it waits', 'outbox is published again'])
  })

  test('a topic that cannot be published holds up no other', async () => {
    const [database, bus] = [await databases.open(), await embeddedBus()]
    const hanging = Promise.withResolvers<void>()
    const partly = gated(bus, async (topic) => {
      if (topic === TASK_REQUESTED) await hanging.promise
      if (topic === ORCHESTRATOR_RESPONSES) throw away()
    })
    const { relay, append } = relayOver(database, partly, { rowsMax: 10 })
    await append([
      ...numbered(TASK_REQUESTED, 30, 30),
      ...numbered(ORCHESTRATOR_RESPONSES, 30, 30),
      ...numbered(COMMAND_EVENTS, 30, 30),
    ])
    await relay.start()
    await until(() => relay.stats().published === 30)
    const sent = (await rowsOf(database)).filter(({ sent_at_ms }) => sent_at_ms !== null)
    expect(new Set(sent.map(({ topic }) => topic))).toEqual(new Set([COMMAND_EVENTS]))
    hanging.resolve()
    await until(() => relay.stats().published === 60)
  })

  test('a record that the bus refuses for itself is set aside after some tries, and what is around it goes out', async () => {
    const [database, bus] = [await databases.open(), await embeddedBus()]
    const reader = await readTopics(bus, [COMMAND_EVENTS])
    const { log, lines } = logLines()
    const strict = gated(bus, (_, records) => {
      if (records.some(({ value }) => value === '13' || value === '14')) throw tooLarge()
    })
    const { relay, append } = relayOver(database, strict, { failuresMax: 2, pollMs: 50, log })
    await relay.start()
    await append(numbered(COMMAND_EVENTS, 100, 1))
    await until(async () => (await rowsOf(database)).filter(({ failures }) => failures === 2).length === 2)
    await until(() => reader.records.length === 98)
    expect(reader.records.map(({ value }) => Number(value))).toEqual(
      Array.from({ length: 100 }, (_, i) => i).filter((i) => i !== 13 && i !== 14),
    )
    const poison = (await rowsOf(database)).filter(({ sent_at_ms }) => sent_at_ms === null)
    expect(poison).toMatchObject(
      ['13', '14'].map((value) => ({ value, failures: 2, error: 'the record is too large. Send less.' })),
    )
    const asides = lines.filter(({ msg }) => msg === 'outbox record is set aside')
    expect(asides).toMatchObject([{ remedy: expect.stringContaining('failures = 0') }, {}])

    // The remedy of the log line works, and the count of those set aside follows.
    await until(() => relay.stats().setAside === 2)
    await database.kysely
      .updateTable('outbox')
      .set({ failures: 0, value: 'mended' } as object)
      .where('failures', '=', 2)
      .execute()
    await until(() => relay.stats().published === 100)
  })

  test('a refusal that holds for every record sets none aside', async () => {
    const [database, bus] = [await databases.open(), await embeddedBus()]
    let denied = true
    const guarded = gated(bus, () => {
      if (denied) throw new BusbarError('Kafka refuses records', { code: 'KAFKA_REFUSED', hint: 'Grant WRITE.' })
    })
    const { relay, append } = relayOver(database, guarded, { failuresMax: 1 })
    await relay.start()
    await append(numbered(COMMAND_EVENTS, 5, 5))
    await until(() => guarded.calls.length >= 3)
    expect(relay.stats().failing).toContain('Grant WRITE')
    denied = false
    await until(() => relay.stats().published === 5)
  })

  test('a record cannot be withdrawn while it is being published', async () => {
    const [database, bus] = [await databases.open(), await embeddedBus()]
    const release = Promise.withResolvers<void>()
    const slow = gated(bus, () => release.promise)
    const { outbox, relay, append } = relayOver(database, slow)
    await append(numbered(TASK_REQUESTED, 1, 1))
    await relay.start()
    await until(() => slow.calls.length === 1)
    const owner = { name: 'test', id: '0' }
    expect(await database.transaction((transaction) => outbox.withdraw(owner, transaction))).toBe(0)
    release.resolve()
    await until(() => relay.stats().published === 1)
  })

  test('when marking fails it is marked again, not published again', async () => {
    const [database, bus] = [await databases.open(), await embeddedBus()]
    const counting = gated(bus, () => {})
    const { outbox, relay, append } = relayOver(database, counting)
    let failures = 2
    outbox.onPublished('test', async () => {
      if (failures-- > 0) throw new Error('the owner cannot store it')
    })
    await relay.start()
    await append(numbered(COMMAND_EVENTS, 3, 3))
    await until(() => relay.stats().failing?.includes('the owner cannot store it'))
    await until(() => relay.stats().published === 3)
    expect(counting.calls.length).toBe(1)
    expect(relay.stats().failing).toBe(null)
  })

  test.for([
    ['when told so', COMMAND_EVENTS, 0],
    ['of who did what, which is sealed where it is kept', USER_ACTIVITY_LOGS, 60_000],
  ] as const)('keeps nothing of what was sent %s', async ([, topic, keptMs]) => {
    const [database, bus] = [await databases.open(), await embeddedBus()]
    const { outbox, relay, append } = relayOver(database, bus, { keptMs })
    const told: string[] = []
    outbox.onPublished('test', async (ids) => void told.push(...ids))
    await relay.start()
    await append(numbered(topic, 3, 3))
    await until(() => relay.stats().published === 3)
    expect(await rowsOf(database)).toEqual([])
    expect(told).toEqual(['0', '1', '2'])
  })

  test('stops after what is being published, and may be called twice', async () => {
    const [database, bus] = [await databases.open(), await embeddedBus()]
    const release = Promise.withResolvers<void>()
    const slow = gated(bus, () => release.promise)
    const { relay, append } = relayOver(database, slow)
    await append(numbered(COMMAND_EVENTS, 3, 3))
    await relay.start()
    await relay.start()
    await until(() => slow.calls.length === 1)
    const stopping = relay.stop(never)
    release.resolve()
    await stopping
    await relay.stop(never)
    for (const row of await rowsOf(database)) expect(row.sent_at_ms).not.toBe(null)
  })

  test('lets go at the deadline of what the bus does not take', async () => {
    const [database, bus] = [await databases.open(), await embeddedBus()]
    const stuck = gated(bus, () => new Promise(() => {}))
    const { relay, append } = relayOver(database, stuck)
    await append(numbered(COMMAND_EVENTS, 3, 3))
    await relay.start()
    await until(() => stuck.calls.length === 1)
    await relay.stop(AbortSignal.timeout(100))
    for (const row of await rowsOf(database))
      expect(row).toMatchObject({ sent_at_ms: null, lease_by: expect.any(String) })
  })
})
