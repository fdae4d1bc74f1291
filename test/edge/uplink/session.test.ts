import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { StoredBlock } from '../../../edge/spool/item.ts'
import { nextTickAt } from '../../../edge/uplink/session-state.ts'
import { LANES, type Lane } from '../../../shared/lanes.ts'
import { CERTIFICATE_ANSWER } from '../../support/simulated-certificates.ts'
import { SimulatedUplink } from '../../support/simulated-uplink.ts'
import { gapInsteadOf } from '../../support/spool-items.ts'

type Step = (uplink: SimulatedUplink) => void

const lane = fc.constantFrom<Lane>(...LANES)
const index = fc.nat(20)

/** What may happen, each with its chance. */
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(lane, fc.integer({ min: 1, max: 1_500 }), fc.integer({ min: 1, max: 5 })).map(
      ([l, bytes, count]): Step =>
        (u) =>
          u.append(l, bytes, count),
    ),
  },
  {
    weight: 6,
    arbitrary: index.map(
      (i): Step =>
        (u) =>
          u.completeRead(i),
    ),
  },
  { weight: 6, arbitrary: fc.constant<Step>((u) => u.writable()) },
  { weight: 6, arbitrary: fc.constant<Step>((u) => u.take()) },
  {
    weight: 5,
    arbitrary: index.map(
      (i): Step =>
        (u) =>
          u.acknowledge(i),
    ),
  },
  {
    weight: 4,
    arbitrary: fc.nat(800).map(
      (ms): Step =>
        (u) =>
          u.advance(ms),
    ),
  },
  { weight: 4, arbitrary: fc.constant<Step>((u) => u.dialled()) },
  {
    weight: 4,
    arbitrary: fc.integer({ min: 0, max: 3_000 }).map(
      (credit): Step =>
        (u) =>
          u.welcome(credit),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.nat(500).map(
      (bytes): Step =>
        (u) =>
          u.grant(bytes),
    ),
  },
  {
    weight: 1,
    arbitrary: index.map(
      (i): Step =>
        (u) =>
          u.completeRead(i, true),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.boolean().map(
      (timedOut): Step =>
        (u) =>
          u.cut(timedOut),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.nat(3).map(
      (fresh): Step =>
        (u) =>
          u.handOver(fresh),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(index, fc.nat(2)).map(
      ([i, refuseEach]): Step =>
        (u) =>
          u.answerCommands(i, refuseEach),
    ),
  },
  {
    weight: 1,
    arbitrary: lane.map(
      (l): Step =>
        (u) =>
          u.evict(l),
    ),
  },
  { weight: 1, arbitrary: fc.constant<Step>((u) => u.replaceSpool()) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Step>(
      (u) => void u.input({ kind: 'credentialsChanged' }),
      (u) => void u.input({ kind: 'certificateWanted', csrDer: Buffer.from('csr') }),
      (u) => u.message(CERTIFICATE_ANSWER),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Step>(
      (u) =>
        u.message({
          $case: 'ack',
          value: {
            lane: -1,
            ranges: [{ first: 0, last: Number.MAX_SAFE_INTEGER }],
          },
        }),
      (u) =>
        u.message({
          $case: 'ack',
          value: { lane: 1, ranges: [{ first: 1, last: 2 }] },
        }),
      (u) => u.message({ $case: 'credit', value: { bytes: 0 } }),
      (u) => u.message(undefined),
    ),
  },
)

describe('under any schedule', () => {
  test('nothing is lost, over-acknowledged, out of order, beyond the credit or of an older session, and a good link drains everything', () => {
    // Without `size` fast-check keeps to about five steps.
    const schedules = fc.tuple(fc.array(anyStep, { maxLength: 250, size: 'max' }), fc.boolean(), fc.boolean())
    fc.assert(
      fc.property(schedules, ([steps, strictOrder, strict]) => {
        const uplink = new SimulatedUplink(strict ? { order: 'strict' } : {})
        uplink.strictOrder = strictOrder
        uplink.advance(0)
        for (const step of steps) {
          if (uplink.state.name === 'offline') uplink.advance(50)
          step(uplink)
        }
        uplink.settle()
        expect(uplink.isDrained).toBe(true)
        // A receipt that was lost brought its command again; none is missing, whatever was cut short.
        expect([...uplink.commands.receipted].toSorted()).toEqual(uplink.commands.issued.toSorted())
        for (const each of LANES) expect(uplink.received[each].length).toBeLessThanOrEqual(1)
      }),
      { numRuns: 1_000 },
    )
  })

  test('there is always a next tick until it has stopped, and it is never in the past for long', () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 150, size: 'max' }), (steps) => {
        const uplink = new SimulatedUplink()
        for (const step of steps) {
          step(uplink)
          const at = nextTickAt(uplink.state, uplink.rules)
          if (at === null) throw new Error('no next tick')
          if (at > uplink.now) continue
          // What is due is done by one tick: a timer that fires again and again would be a busy loop.
          uplink.advance(0)
          expect(nextTickAt(uplink.state, uplink.rules)).toBeGreaterThan(uplink.now - 1)
          uplink.advance(0)
          expect(nextTickAt(uplink.state, uplink.rules)).toBeGreaterThan(uplink.now)
        }
      }),
      { numRuns: 200 },
    )
  })

  test('stopping always ends, with everything acknowledged when the link is good', () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 100, size: 'max' }), (steps) => {
        const uplink = new SimulatedUplink()
        for (const step of steps) step(uplink)
        uplink.input({ kind: 'stop' })
        for (let i = 0; i < 3 && uplink.state.name !== 'stopped'; i++) uplink.advance(uplink.rules.stopTimeoutMs)
        expect(uplink.state.name).toBe('stopped')
        expect(nextTickAt(uplink.state, uplink.rules)).toBeNull()
        expect(uplink.certificates.underWay).toBe(false)
      }),
      { numRuns: 200 },
    )
  })
})

/** Connected, with everything before Welcome as backlog. */
function connected(
  options: { backlog?: number; credit?: number; rules?: ConstructorParameters<typeof SimulatedUplink>[0] } = {},
): SimulatedUplink {
  const uplink = new SimulatedUplink(options.rules)
  for (let i = 0; i < (options.backlog ?? 0); i++) uplink.append('telemetry', 100)
  uplink.advance(0)
  uplink.dialled()
  uplink.welcome(options.credit ?? 100_000)
  return uplink
}

/** One round in which the link and the cloud do their part. */
function round(uplink: SimulatedUplink): void {
  while (uplink.reads.length > 0) uplink.completeRead(0)
  uplink.writable()
  while (uplink.up.length > 0) uplink.take()
  while (uplink.taken.length > 0) uplink.acknowledge(0)
}

describe('sharing the link', () => {
  test.each([0.05, 0.3, 0.7, 0.95])(
    'live and backfill share by weight %d when both have more than fits',
    (backfillShare) => {
      const uplink = connected({
        backlog: 2_000,
        rules: { backfillShare, burstBytes: 400 },
      })
      let live = 0
      let backfill = 0
      for (let i = 0; i < 250; i++) {
        for (let k = 0; k < 6; k++) uplink.append('telemetry', 100)
        uplink.sentInSession.length = 0
        round(uplink)
        for (const { backfill: isBackfill } of uplink.sentInSession) isBackfill ? backfill++ : live++
      }
      expect(backfill / (live + backfill)).toBeCloseTo(backfillShare, 1)
    },
  )

  test('a backlog alone gets the whole link', () => {
    const uplink = connected({ backlog: 50, rules: { backfillShare: 0.05 } })
    for (let i = 0; i < 50; i++) round(uplink)
    expect(uplink.isDrained).toBe(true)
  })

  test('priority goes before all that waits', () => {
    const uplink = connected({ backlog: 40, credit: 300 })
    round(uplink)
    uplink.append('priority', 100)
    uplink.completeRead(0)
    uplink.sentInSession.length = 0
    for (let i = 0; i < 5; i++) round(uplink)
    expect(uplink.sentInSession.slice(0, 7).some(({ item }) => item.lane === 'priority')).toBe(true)
  })

  test('in strict order telemetry goes oldest first and new records wait behind the backlog', () => {
    const uplink = connected({ backlog: 20, rules: { order: 'strict' } })
    for (let i = 0; i < 5; i++) uplink.append('telemetry', 100)
    const sequences: number[] = []
    for (let i = 0; i < 40; i++) {
      uplink.sentInSession.length = 0
      round(uplink)
      sequences.push(...uplink.sentInSession.map(({ item }) => item.firstSequence))
    }
    expect(sequences).toEqual(Array.from({ length: 25 }, (_, i) => 5_000 + i))
  })

  test('what was stored before Welcome is marked as backfill, what came after is not', () => {
    const uplink = connected({ backlog: 1 })
    uplink.append('telemetry', 10)
    const marks: boolean[] = []
    for (let i = 0; i < 4; i++) {
      while (uplink.reads.length > 0) uplink.completeRead(0)
      marks.push(...uplink.sentInSession.splice(0).map(({ backfill }) => backfill))
      uplink.writable()
    }
    expect(marks.toSorted()).toEqual([false, true])
  })
})

describe('credit', () => {
  test('without credit nothing is sent', () => {
    const uplink = connected({ backlog: 5, credit: 0 })
    round(uplink)
    expect(uplink.sentInSession).toEqual([])
    uplink.grant(100)
    expect(uplink.sentInSession.length).toBe(1)
  })

  test('a block larger than the credit goes when nothing else is on its way', () => {
    const uplink = connected({ credit: 150 })
    uplink.append('telemetry', 100)
    uplink.completeRead(0)
    uplink.writable()
    uplink.append('telemetry', 1_000)
    uplink.completeRead(0)
    expect(uplink.sentInSession.length).toBe(1)
    uplink.take()
    uplink.acknowledge(0)
    expect(uplink.sentInSession.length).toBe(2)
  })

  test('a gap costs nothing, and goes even when a large block left less than nothing', () => {
    const uplink = connected({ credit: 50 })
    uplink.append('telemetry', 1_000)
    uplink.completeRead(0)
    uplink.writable()
    expect(uplink.flow?.credit).toBe(-950)
    uplink.append('telemetry', 100)
    uplink.items.telemetry[1] = gapInsteadOf(uplink.items.telemetry[1] as StoredBlock)
    uplink.completeRead(0)
    expect(uplink.sentInSession.map(({ item }) => item.kind)).toEqual(['block', 'gap'])
  })
})

describe('time', () => {
  test('a cloud that acknowledges nothing is given up', () => {
    const uplink = connected()
    uplink.append('telemetry', 10)
    uplink.completeRead(0)
    uplink.writable()
    uplink.advance(uplink.rules.ackTimeoutMs - 1)
    expect(uplink.state.name).toBe('streaming')
    uplink.advance(1)
    expect(uplink.state.name).toBe('offline')
  })

  test('credit of nothing says that the cloud is still at work', () => {
    const uplink = connected()
    uplink.append('telemetry', 10)
    uplink.completeRead(0)
    for (let i = 0; i < 5; i++) {
      uplink.advance(uplink.rules.ackTimeoutMs - 1)
      uplink.grant(0)
    }
    expect(uplink.state.name).toBe('streaming')
  })

  test('an idle session is never given up', () => {
    const uplink = connected()
    for (let i = 0; i < 100; i++) uplink.advance(uplink.rules.ackTimeoutMs)
    expect(uplink.state.name).toBe('streaming')
  })

  test('merely connecting does not shorten the backoff, an acknowledgement does', () => {
    const uplink = new SimulatedUplink({
      random: { fraction: () => 0.999, bytes: (n) => new Uint8Array(n) },
    })
    const waits: number[] = []
    const failAfterWelcome = () => {
      uplink.advance(10_000)
      uplink.dialled()
      uplink.welcome(100)
      uplink.cut()
      if (uplink.state.name === 'offline') waits.push(Math.round(uplink.state.retryAt - uplink.now))
    }
    for (let i = 0; i < 4; i++) failAfterWelcome()
    expect(waits).toEqual([100, 200, 400, 799])
    uplink.append('telemetry', 10)
    uplink.advance(10_000)
    uplink.dialled()
    uplink.welcome(100)
    uplink.completeRead(0)
    uplink.take()
    uplink.acknowledge(0)
    uplink.cut()
    failAfterWelcome()
    expect(waits.at(-1)).toBe(200)
  })

  test('sessions that a time-out cuts short get longer to prove themselves, until one ends in peace', () => {
    const uplink = new SimulatedUplink()
    uplink.append('telemetry', 10)
    const patienceOfNextDial = (end: (u: SimulatedUplink) => void): number => {
      uplink.advance(10_000)
      uplink.dialled()
      uplink.welcome(100)
      while (uplink.reads.length > 0) uplink.completeRead(0)
      end(uplink)
      return uplink.state.patience
    }
    const cutShort = (u: SimulatedUplink): void => u.cut(true)
    const silence = (u: SimulatedUplink): void => u.advance(u.rules.ackTimeoutMs * u.state.patience)
    const restart = (u: SimulatedUplink): void => u.cut()
    const inPeace = (u: SimulatedUplink): void => {
      u.take()
      u.acknowledge(0)
      u.cut()
    }
    const patience = [restart, cutShort, silence, cutShort, restart, inPeace].map(patienceOfNextDial)
    expect(patience).toEqual([1, 2, 4, 8, 8, 1])
  })

  test('a cloud that never says Welcome is given up', () => {
    const uplink = new SimulatedUplink()
    uplink.advance(0)
    uplink.dialled()
    uplink.advance(uplink.rules.connectTimeoutMs)
    expect(uplink.state.name).toBe('offline')
  })
})

describe('resuming', () => {
  test('what the cloud had at Welcome is acknowledged to the spool unsent', () => {
    const uplink = new SimulatedUplink()
    for (let i = 0; i < 4; i++) uplink.append('telemetry', 10)
    uplink.received.telemetry = [{ first: 5_000, last: 5_001 }]
    uplink.advance(0)
    uplink.dialled()
    uplink.welcome(1_000)
    expect(uplink.items.telemetry.length).toBe(2)
    while (uplink.reads.length > 0) uplink.completeRead(0)
    expect(uplink.sentInSession.map(({ item }) => item.firstSequence)).toEqual([5_002, 5_003])
  })

  test('what was not acknowledged is sent again', () => {
    const uplink = connected({ backlog: 3 })
    uplink.completeRead(0)
    uplink.cut()
    uplink.advance(10_000)
    uplink.dialled()
    uplink.welcome(1_000)
    while (uplink.reads.length > 0) uplink.completeRead(0)
    expect(uplink.sentInSession.map(({ item }) => item.firstSequence)).toEqual([5_000, 5_001, 5_002])
  })

  test('a spool older than what the cloud has of it sends nothing: its sequences would be dropped as duplicates', () => {
    const uplink = new SimulatedUplink()
    uplink.append('telemetry', 10)
    uplink.received.telemetry = [{ first: 5_000, last: 5_010 }]
    uplink.advance(0)
    uplink.dialled()
    uplink.welcome(1_000)
    expect(uplink.state.name).toBe('offline')
    expect(uplink.effectsSeen).toContain('close')
    expect(uplink.items.telemetry.length).toBe(1)
  })
})
