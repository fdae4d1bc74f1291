import { expect, test } from 'vitest'
import { Outbox } from '../../../cloud/bus/outbox.ts'
import { type CommandReport, DeviceCommands } from '../../../cloud/gateways/gateways.ts'
import {
  CursorStore,
  type CursorUpdate,
  formatRanges,
  parseRanges,
  settledBelow,
} from '../../../cloud/ingest/cursors.ts'
import { Registry } from '../../../cloud/registry/registry.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'

const STRETCH = { fromMs: null, toMs: null }
const GAP = {
  epoch: 'e',
  lane: 'telemetry',
  firstSequence: 1,
  recordCount: 2,
  reason: 'age',
  atMs: 1,
  ...STRETCH,
} as const

function update(gatewayId: string, changes: Partial<CursorUpdate> = {}): CursorUpdate {
  const received = { telemetry: [{ first: 1, last: 2 }] }
  return { gatewayId, epoch: 'e', received, gaps: [], statuses: [], reports: [], ...changes }
}

/** Of a command that nobody issued: it is kept as a dead letter. */
function report(commandId: string): CommandReport {
  return {
    commandId,
    gatewayId: 'gw-1',
    siteId: 1,
    serialNumber: 'INV-1',
    state: 'SUCCEEDED',
    payload: null,
    reason: null,
    receivedAtMs: 5,
    value: Buffer.from(JSON.stringify({ commandId })),
    headers: {},
  }
}

await describeOnEveryDatabase('cursors', (databases) => {
  async function open() {
    const database = await databases.open()
    const common = { database, clock: systemClock }
    const registry = new Registry({ ...common, autoRegister: true, autoRegisterGateways: true, log: silentLogger })
    const commands = new DeviceCommands({ ...common, outbox: new Outbox(common) })
    let nudges = 0
    const cursors = new CursorStore({
      ...common,
      registry,
      commands: { record: (...given) => commands.record(...given), nudge: () => nudges++ },
    })
    const reported = async (): Promise<string[]> => {
      const rows = await database.kysely.selectFrom('outbox').select('value').orderBy('id').execute()
      return rows.map(({ value }) => (JSON.parse(value) as { commandId: string }).commandId).toSorted()
    }
    return { database, registry, cursors, reported, nudges: () => nudges }
  }

  test('come back as they were stored, by gateway, epoch and lane', async () => {
    const { cursors } = await open()
    await cursors.save(
      update('a', {
        received: {
          telemetry: [
            { first: 2 ** 52, last: 2 ** 52 + 5 },
            { first: 2 ** 52 + 9, last: 2 ** 52 + 9 },
          ],
        },
      }),
    )
    await cursors.save(update('a', { received: { priority: [{ first: 7, last: 7 }] } }))
    expect(await cursors.load('a', 'e')).toEqual({
      priority: [{ first: 7, last: 7 }],
      telemetry: [
        { first: 2 ** 52, last: 2 ** 52 + 5 },
        { first: 2 ** 52 + 9, last: 2 ** 52 + 9 },
      ],
    })
    expect(await cursors.load('a', 'other')).toEqual({ priority: [], telemetry: [] })
  })

  test('of many gateways are stored together, with gaps and statuses', async () => {
    const { cursors, registry } = await open()
    const [device] = await registry.load('g-0', [{ siteId: 1, serialNumber: 'INV-1' }])
    const deviceId = device?.deviceId as number
    const updates = Array.from({ length: 700 }, (_, i) => update(`g-${i}`))
    const withMore = update('more', {
      gaps: [{ ...GAP, gatewayId: 'more' }],
      statuses: [{ deviceId, status: 'ONLINE', atMs: 5 }],
    })
    await Promise.all([...updates, withMore].map((each) => cursors.save(each)))
    expect((await cursors.load('g-699', 'e')).telemetry).toEqual([{ first: 1, last: 2 }])
    expect(await registry.gateways.gaps('more')).toMatchObject([{ firstSequence: 1, recordCount: 2, reason: 'age' }])
    expect(device?.status).toBe('ONLINE')
  })

  test('of one at fault do not fail those of the others', async () => {
    const { cursors, database } = await open()
    const bad = update('bad', {
      received: { telemetry: [{ first: 1, last: 2 }], priority: [] },
      gatewayId: null as never,
    })
    const outcomes = await Promise.allSettled([update('x'), bad, update('y')].map((each) => cursors.save(each)))
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(database.health().state).toBe('up')
  })

  test('are stored together with what was said of commands, or not at all', async () => {
    const { cursors, reported, nudges } = await open()
    const bad = update('bad', { gatewayId: null as never, reports: [report('of-bad')] })
    const good = ['x', 'y'].map((id) => update(id, { reports: [report(`of-${id}`)] }))
    // The first goes alone, so that the others share a transaction which fails and is taken apart.
    await Promise.allSettled([update('first'), ...good, bad].map((each) => cursors.save(each)))
    expect(await reported()).toEqual(['of-x', 'of-y'])
    expect((await cursors.load('x', 'e')).telemetry).toEqual([{ first: 1, last: 2 }])
    expect(nudges()).toBe(2)
  })

  test('with very many reports take several transactions, and none is left behind', async () => {
    const { cursors, reported } = await open()
    const reports = (of: number) => Array.from({ length: 900 }, (_, i) => report(`of-${of}-${i}`))
    const updates = Array.from({ length: 5 }, (_, i) => update(`g-${i}`, { reports: reports(i) }))
    await Promise.all([update('first'), ...updates].map((each) => cursors.save(each)))
    expect((await reported()).length).toBe(4_500)
    expect((await cursors.load('g-4', 'e')).telemetry).toEqual([{ first: 1, last: 2 }])
  })
})

test('ranges survive being written down', () => {
  const ranges = [
    { first: 1, last: 5 },
    { first: 8, last: 8 },
  ]
  expect(parseRanges(formatRanges(ranges))).toEqual(ranges)
  expect(() => parseRanges('nonsense')).toThrow(/cursor/)
})

test('holes that can never be filled are closed, others stay', () => {
  const ranges = [
    { first: 10, last: 20 },
    { first: 30, last: 40 },
    { first: 50, last: 60 },
  ]
  expect(settledBelow(ranges, 45)).toEqual([
    { first: 10, last: 44 },
    { first: 50, last: 60 },
  ])
  expect(settledBelow(ranges, 5)).toEqual(ranges)
  expect(settledBelow([], 45)).toEqual([])
})
