/** The published files and the example consumer, with the tools that other people's programs use. */

import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { COMMAND_EVENTS, catalogue } from '../../cloud/bus/catalogue.ts'
import { KafkaBus } from '../../cloud/bus/kafka/kafka-bus.ts'
import { OutboxRelay } from '../../cloud/bus/outbox-relay.ts'
import { Partitioner } from '../../cloud/bus/partitioner.ts'
import type { CommandView } from '../../cloud/commands/commands.ts'
import { type DatabaseHandle, openDatabase } from '../../cloud/database/database.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { type Child, projectDir, startChild } from '../support/child.ts'
import { type CommandCore, commandCore } from '../support/command-core.ts'
import type { AnyJson } from '../support/json-request.ts'
import { describeKafka, startKafka, type TestKafka } from '../support/kafka.ts'
import { describePython } from '../support/python.ts'
import { pythonEnvironment } from '../support/python-environment.ts'
import { readTopics } from '../support/topic-reader.ts'
import { until } from '../support/until.ts'

const never = new AbortController().signal
const partitioner = new Partitioner()
const common = { clock: systemClock, random: systemRandom, log: silentLogger }

const PARTITIONS = catalogue().find(({ topic }) => topic === COMMAND_EVENTS)?.partitions ?? 0

/** Every kind of JSON that a payload can be. */
const PAYLOADS = [{ force: true }, null, [1, 'two', null], 'Zähler € "x"', 4.5, false, { deep: { list: [{}] } }]

describeKafka('published schemas, with a real Kafka', () => {
  describePython('in Python', (python3) => {
    let python: string
    let kafka: TestKafka
    let dir: string
    let database: DatabaseHandle
    let bus: KafkaBus
    let core: CommandCore
    let relay: OutboxRelay

    beforeAll(async () => {
      python = await pythonEnvironment(python3)
      kafka = await startKafka()
      dir = await mkdtemp(join(tmpdir(), 'busbar-'))
      database = openDatabase({ url: `sqlite:${join(dir, 'busbar.db')}`, ...common })
      bus = new KafkaBus({ brokers: kafka.brokers, topics: catalogue(), ...common })
      core = commandCore(database)
      relay = new OutboxRelay({ outbox: core.outbox, bus, database, coreId: 'core-1', keptMs: 60_000, ...common })
      await database.start()
      await bus.start()
      await bus.createTopics()
      await relay.start()
    })
    afterAll(async () => {
      await relay?.stop(AbortSignal.timeout(5_000))
      await bus?.stop(never)
      await database?.stop()
      await kafka?.stop()
      if (dir !== undefined) await rm(dir, { recursive: true, force: true })
    })

    const create = (payload: unknown): Promise<CommandView> =>
      core.commands.create({ deviceId: 'dev-xyz', name: 'reboot', payload })

    /** Whoever has all of these has read every partition as far. */
    const createInEveryPartition = async (): Promise<CommandView[]> => {
      const made = new Map<number, CommandView>()
      while (made.size < PARTITIONS) {
        const command = await create(null)
        made.set(partitioner.partitionOf(command.id, PARTITIONS), command)
      }
      return [...made.values()]
    }

    interface Consumer {
      readonly child: Child
      /** What it printed: each command once. */
      readonly events: AnyJson[]
      has(...commands: readonly { readonly id: string }[]): Promise<void>
    }

    /** @param file name of the SQLite file that it remembers ids in. */
    const startConsumer = (file: string, group?: string): Consumer => {
      const events: AnyJson[] = []
      const script = join(projectDir, 'proto/examples/command_created_consumer.py')
      const options = ['--brokers', kafka.brokers.join(','), '--database', join(dir, file)]
      const child = startChild({
        command: [python, script, ...options, ...(group === undefined ? [] : ['--group', group])],
        onLine: (line) => events.push(JSON.parse(line)),
      })
      onTestFinished(async () => void (await child.kill('SIGKILL')))
      const has = async (...commands: readonly { readonly id: string }[]): Promise<void> => {
        await until(
          () => {
            if (child.exit !== null) throw new Error(`the consumer ended:\n${child.output()}`)
            return commands.every(({ id }) => events.some((event) => event.id === id))
          },
          { what: 'the consumer has the commands', timeoutMs: 60_000 },
        ).catch((error: unknown) => {
          throw new Error(`${error}\n${child.output()}`)
        })
      }
      return { child, events, has }
    }

    test('jsonschema and fastavro take what the service publishes, and nothing that lacks a member', async () => {
      for (const payload of PAYLOADS) await create(payload)
      const reader = await readTopics(bus, [COMMAND_EVENTS])
      await until(() => reader.records.length >= PAYLOADS.length)
      const lines = reader.records.map(({ value }) => value.toString()).join('\n')
      for (const folder of ['', 'released/']) {
        const files = [`json/${folder}command.created.schema.json`, `avro/${folder}command_created_v1.avsc`]
        const argv = ['published-schemas-check.py', ...files.map((file) => join(projectDir, 'proto', file))]
        const checked = execFileSync(python, argv, { cwd: import.meta.dirname, input: lines, encoding: 'utf8' })
        expect(checked.trim()).toBe(String(reader.records.length))
      }
    })

    test('the example consumer takes each command in once, whatever is repeated or broken', async () => {
      const consumer = startConsumer('once.db', 'once')
      const first = await create({ n: 1 })
      await consumer.has(first)
      const event = consumer.events.find(({ id }) => id === first.id)
      expect(event).toEqual({
        type: 'command.created',
        id: first.id,
        device_id: 'dev-xyz',
        name: 'reboot',
        payload: { n: 1 },
        created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$/),
      })

      const broken = ['not JSON', '[]', '"text"', '', JSON.stringify({ ...event, id: 'x' })]
      const odd = [
        { ...event, created_at: 'yesterday' },
        { ...event, type: undefined },
      ]
      const foreign = { ...event, type: 'command.v2.created', id: { new: 'form' } }
      const more = { ...event, id: 'cmd-99999999', priority: 'a member of a later version' }
      const values = [event, ...odd, foreign, more].map((value) => JSON.stringify(value))
      // All of one partition, so that none of them may stop it.
      await bus.publish(
        COMMAND_EVENTS,
        [...broken, ...values].map((value) => ({ key: first.id, value })),
      )
      await consumer.has(await create({ n: 2 }), { id: 'cmd-99999999' })
      const ids = consumer.events.map(({ id }) => id)
      expect(new Set(ids).size).toBe(ids.length)
      const query = 'select count(*) from set_aside'
      const code = `import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("${query}").fetchone()[0])`
      const setAside = execFileSync(python, ['-c', code, join(dir, 'once.db')], { encoding: 'utf8' })
      expect(Number(setAside)).toBe(broken.length + odd.length)
    })

    test('the example consumer goes on where it was, and knows what comes again', async () => {
      const before = startConsumer('first.db')
      await before.has(...(await createInEveryPartition()))
      await before.child.kill('SIGTERM')
      expect(before.child.exit).toEqual({ code: 0, signal: null })

      // The group's offsets are committed: even one without a memory begins behind them.
      const after = startConsumer('second.db')
      await after.has(...(await createInEveryPartition()))
      const known = new Set(before.events.map(({ id }) => id))
      expect(after.events.filter(({ id }) => known.has(id))).toEqual([])
      await after.child.kill('SIGKILL')

      // Another group gets everything again; what it remembers has no second effect.
      const again = startConsumer('first.db', 'another-group')
      await again.has(...after.events, ...(await createInEveryPartition()))
      expect(again.events.filter(({ id }) => known.has(id))).toEqual([])
    })
  })
})
