import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe } from 'vitest'
import type { BatchHandler, Bus, BusRecord, PublishOptions } from '../../cloud/bus/bus.ts'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { EncodedBus } from '../../cloud/bus/encoding/encoded-bus.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { type FakeRegistry, startFakeRegistry } from '../support/fake-schema-registry.ts'
import { type BusHarness, busSuite } from './bus-suite.ts'

const SCHEMA = JSON.stringify({ type: 'record', name: 'Any', fields: [{ name: 'text', type: 'string' }] })

/** Of the suite, which publishes any bytes: what Avro is to carry has to be JSON. */
function carryingAnything(bus: Bus): Bus {
  const wrapped = (record: BusRecord): BusRecord => {
    return { ...record, value: JSON.stringify({ text: Buffer.from(record.value as string).toString('latin1') }) }
  }
  const unwrapping = (onBatch: BatchHandler): BatchHandler => {
    return (batch) => {
      const records = batch.records.map((record) => {
        return { ...record, value: Buffer.from(JSON.parse(String(record.value)).text, 'latin1') }
      })
      return onBatch({ ...batch, records })
    }
  }
  return new Proxy(bus, {
    get: (target, name: keyof Bus) => {
      if (name === 'publish') {
        return (topic: string, records: BusRecord[], options?: PublishOptions) => {
          return target.publish(topic, records.map(wrapped), options)
        }
      }
      if (name === 'subscribe' || name === 'tail') {
        return (options: { group: string; topics: string[]; onBatch: BatchHandler }) =>
          target[name]({ ...options, onBatch: unwrapping(options.onBatch) })
      }
      const member: unknown = target[name]
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}

async function harness(isAvro: boolean): Promise<BusHarness> {
  const dir = await mkdtemp(join(tmpdir(), 'busbar-'))
  const fake: FakeRegistry = startFakeRegistry('suite')
  const tools = { clock: systemClock, log: silentLogger }
  return {
    create: (options) => {
      const avroTopics = isAvro ? [...options.topics.map(({ topic }) => topic), 'no-such-topic'] : []
      const bus = new EncodedBus({
        bus: new EmbeddedBus({ dir, ...options, ...tools, random: systemRandom }),
        registry: { url: fake.url, timeoutMs: 2_000, autoRegister: true },
        avroTopics,
        schemas: Object.fromEntries(avroTopics.map((topic) => [topic, SCHEMA])),
        ...tools,
      })
      return isAvro ? carryingAnything(bus) : bus
    },
    dispose: async () => {
      await fake.die()
      await rm(dir, { recursive: true, force: true })
    },
  }
}

describe('with a schema registry and every topic in JSON', () => busSuite(() => harness(false)))
describe('with every topic in Avro', () => busSuite(() => harness(true)))
