import { describe, expect, onTestFinished, test } from 'vitest'
import { ByteBudget } from '../../../cloud/ingest/byte-budget.ts'
import { IngestCounters } from '../../../cloud/ingest/counters.ts'
import { CreditPool } from '../../../cloud/ingest/credit-pool.ts'
import { Delivery } from '../../../cloud/ingest/delivery.ts'
import { GatewayStream, type GatewayStreamOptions } from '../../../cloud/ingest/gateway-stream.ts'
import { ANY_SITE } from '../../../cloud/ingest/identity-guard.ts'
import type { SessionResponse } from '../../../proto/generated/busbar/edge/v1/uplink.ts'
import { silentLogger } from '../../../shared/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { wireBlock } from '../../support/raw-gateway.ts'
import { seededRandom } from '../../support/seeded-random.ts'
import { until } from '../../support/until.ts'

/** Longer than any gateway waits for a word by default, milliseconds. */
const ACK_TIMEOUT_MS = 30_000
const DEVICE = {
  deviceId: 1,
  serialNumber: 'INV-001',
  siteId: 1,
  deviceType: 'SOLAR_INVERTER',
  status: null,
  statusAtMs: null,
}

/** A stream of one gateway whose dependencies are `changes`; they work otherwise. */
function openStream(changes: Partial<GatewayStreamOptions> & { readonly publish?: () => Promise<void> } = {}) {
  const clock = new ManualClock()
  const pool = new CreditPool({ windowBytes: 1_000_000, floorBytes: 65_536, inflightBytesMax: 1_000_000 })
  const counters = new IngestCounters()
  const { publish = () => Promise.resolve(), ...options } = changes
  const common = { counters, clock, random: seededRandom(1), log: silentLogger }
  const said: NonNullable<SessionResponse['message']>[] = []
  const stream = new GatewayStream({
    gatewayId: 'gw-1',
    epoch: 'e',
    received: { priority: [], telemetry: [] },
    credit: pool.open(() => undefined),
    send: ({ message }) => void (message !== undefined && said.push(message)),
    onDelivered: () => undefined,
    onFailed: (error) => {
      throw error
    },
    delivery: new Delivery({
      ...common,
      bus: { publish },
      cursors: { save: () => Promise.resolve() },
      registry: { storedStatuses: () => Promise.resolve(new Map()) },
    }),
    registry: { resolve: () => DEVICE, load: () => Promise.resolve([]) },
    sites: ANY_SITE,
    onForeignSite: () => undefined,
    decoded: new ByteBudget(1_000_000),
    futureToleranceMs: 0,
    ...common,
    ...options,
  })
  stream.start()
  onTestFinished(() => void stream.abort())
  const signsOfLife = (): number => said.filter((each) => each.$case === 'credit' && each.value.bytes === 0).length
  return { stream, clock, pool, said, signsOfLife }
}

/** Time passes, and whatever it wakes has its turn. */
async function pass(clock: ManualClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 500) {
    clock.advance(500)
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
}

const never = (): Promise<never> => new Promise(() => undefined)
const fullBudget = (): ByteBudget => {
  const decoded = new ByteBudget(100)
  decoded.tryTake(100)
  return decoded
}

describe('a gateway is told that work goes on while its records wait', () => {
  test.each<[string, Parameters<typeof openStream>[0]]>([
    ['for the bus', { publish: never }],
    ['for memory that other gateways hold', { decoded: fullBudget() }],
    ['for the registry', { registry: { resolve: () => null, load: never } }],
  ])('%s', async (_, changes) => {
    const { stream, clock, signsOfLife } = openStream(changes)
    expect(stream.acceptBlock(wireBlock(1, ['{}']))).toBeNull()
    await pass(clock, ACK_TIMEOUT_MS)
    expect(signsOfLife()).toBeGreaterThanOrEqual(5)
  })

  test('and hears nothing when there is nothing to do', async () => {
    const { stream, clock, said, signsOfLife } = openStream()
    await pass(clock, ACK_TIMEOUT_MS)
    stream.acceptBlock(wireBlock(1, ['{}']))
    await until(() => said.some(({ $case }) => $case === 'ack'))
    await pass(clock, ACK_TIMEOUT_MS)
    expect(signsOfLife()).toBe(0)
  })
})

test('a stream that waits for memory ends when its gateway is gone, and gives everything back', async () => {
  const decoded = fullBudget()
  const { stream, pool } = openStream({ decoded })
  stream.acceptBlock(wireBlock(1, ['{}']))
  await new Promise<void>((resolve) => setImmediate(resolve))
  await stream.abort()
  expect(pool.reservedBytes).toBe(0)
  decoded.give(100)
  expect(decoded.usedBytes).toBe(0)
})
