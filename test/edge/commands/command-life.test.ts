import { describe, expect, test } from 'vitest'
import { transition } from '../../../edge/commands/command-life.ts'
import { rowOf } from '../../../edge/commands/life-row.ts'
import {
  type CommandLife,
  isAnswered,
  isDue,
  type Now,
  type Terms,
  WAITING,
} from '../../../edge/commands/life-state.ts'
import type { LifeEffect, LifeInput } from '../../../edge/commands/life-step.ts'

const TERMS: Terms = { expiresAtMs: 10_000, timeoutMs: 1_000 }
const EARLY: Now = { monotonicMs: 0, cloudMs: 0 }
const at = (ms: number): Now => ({ monotonicMs: ms, cloudMs: ms })
const payload = Buffer.from('{}')

const durable = { kind: 'opened', session: 's', durable: true, qos: 2, packetId: 7 } as const
const clean = { ...durable, durable: false }
const mine = { session: 's', packetId: 7 }
const stored = { kind: 'stored', payload } as const
const received = { kind: 'received', ...mine } as const
const completed = { kind: 'completed', ...mine } as const
const publish = { kind: 'publish', packetId: 7, payload, dup: false }
const again = { ...publish, dup: true }
const release = { kind: 'release', packetId: 7 }
const store = { kind: 'store' }

/** The life after these inputs, and what each had done. */
function live(inputs: readonly (LifeInput | readonly [LifeInput, Now])[], from: CommandLife = WAITING) {
  let life = from
  const effects: (readonly LifeEffect[])[] = []
  for (const each of inputs) {
    const [input, now] = 'kind' in each ? [each, EARLY] : each
    const step = transition(life, input, TERMS, now)
    life = step.life
    effects.push(step.effects)
  }
  return { life, effects }
}

describe('the life of a command', () => {
  test('stores each step before it takes the next', () => {
    const { life, effects } = live([durable, stored, received, stored, completed, { kind: 'answered' }, stored])
    expect(effects).toEqual([
      [store],
      [publish],
      [store],
      [release],
      [{ kind: 'store', fact: { state: 'DELIVERED' } }],
      [store],
      [],
    ])
    expect(life).toEqual({ phase: 'ended', outcome: 'ANSWERED' })
  })

  test('waits while the time of the cloud is not known', () => {
    expect(live([[durable, { monotonicMs: 0, cloudMs: null }]]).life).toBe(WAITING)
  })

  test('goes out until it expires, however long the disk took, and not after', () => {
    expect(live([durable, [stored, at(9_999)]]).effects[1]).toEqual([publish])
    for (const inputs of [[[durable, at(10_000)]], [durable, [stored, at(10_000)]], [[{ kind: 'tick' }, at(10_000)]]]) {
      expect(live(inputs as never).effects.at(-1)).toEqual([{ kind: 'store', fact: { state: 'EXPIRED' } }])
    }
  })

  test('is taken back only while nothing of it was written', () => {
    const cancelled = [{ kind: 'store', fact: { state: 'CANCELLED' } }]
    expect(live([{ kind: 'cancel' }]).effects[0]).toEqual(cancelled)
    expect(live([durable, { kind: 'cancel' }]).effects[1]).toEqual(cancelled)
    expect(live([durable, { kind: 'cancel' }, stored]).effects[2]).toEqual([])
    expect(live([durable, stored, { kind: 'cancel' }]).effects[2]).toEqual([])
  })

  test('goes out on the next connection when this one ended before it was written', () => {
    expect(live([durable, { kind: 'closed' }]).life).toBe(WAITING)
    expect(live([durable, stored, { kind: 'unwritten' }]).life).toBe(WAITING)
  })

  test('is sent again with DUP in the session that has it, before it expires, with QoS 2', () => {
    const lost = [durable, stored, { kind: 'closed' }] as const
    expect(live([...lost, durable, stored]).effects.slice(3)).toEqual([[store], [again]])
    expect(live([...lost, durable, [stored, at(10_000)]]).effects[4]).toEqual([])
    expect(live([...lost, [durable, at(10_000)]]).effects[3]).toEqual([])
    // For good: the session before may be found again when the gateway died before it could note that it is over.
    const elsewhere = live([...lost, { ...durable, session: 'another' }, stored])
    expect(elsewhere.effects.slice(3)).toEqual([[store], []])
    expect(rowOf(elsewhere.life, 'boot', EARLY)).toMatchObject({ phase: 'published', via: { resumable: false } })
    expect(live([...lost, { ...durable, qos: 1 }, stored]).effects.slice(3)).toEqual([[], []])
    expect(live([clean, stored, { kind: 'closed' }, clean, stored]).effects.slice(3)).toEqual([[], []])
    const weak = { ...durable, qos: 1 } as const
    expect(live([weak, stored, { kind: 'closed' }, weak, stored]).effects.slice(3)).toEqual([[], []])
  })

  test('is not sent again once the device has said that it has it', () => {
    const { effects } = live([
      durable,
      stored,
      received,
      { kind: 'closed' },
      durable,
      stored,
      { kind: 'closed' },
      durable,
    ])
    expect(effects.slice(3)).toEqual([[], [], [release], [], [release]])
  })

  test('answers a repeated PUBREC, and takes no other handshake for its own', () => {
    expect(live([durable, stored, received, stored, received]).effects[4]).toEqual([release])
    const strangers = [{ ...received, packetId: 8 }, { ...received, session: 'another' }, completed] as const
    expect(live([durable, stored, ...strangers]).effects.slice(2)).toEqual([[], [], []])
  })

  test('with QoS 1 PUBACK ends the handshake, and with QoS 0 nothing does', () => {
    const { life } = live([{ ...durable, qos: 1 }, stored, completed])
    expect(life).toEqual({ phase: 'delivered', sinceMs: 0 })
    const silent = live([{ ...durable, qos: 0, packetId: 0 }, stored, [{ kind: 'tick' }, at(1_000)]])
    expect(silent.life).toMatchObject({ phase: 'ending', outcome: 'TIMED_OUT' })
  })

  test('times out after PUBCOMP, or after the PUBLISH when the device is silent', () => {
    const delivered = live([durable, stored, received, stored, [completed, at(500)]]).life
    expect(isDue(delivered, TERMS, at(1_499))).toBe(false)
    expect(isDue(delivered, TERMS, at(1_500))).toBe(true)
    const silent = live([durable, [stored, at(300)]]).life
    expect(isDue(silent, TERMS, at(1_299))).toBe(false)
    expect(isDue(silent, TERMS, at(1_300))).toBe(true)
  })

  test('who keeps its session has until the command expires to come back; nobody else has', () => {
    const away = live([durable, stored, { kind: 'closed' }]).life
    expect(isDue(away, TERMS, at(9_999))).toBe(false)
    expect(isDue(away, TERMS, { monotonicMs: 99_999, cloudMs: null })).toBe(false)
    expect(isDue(away, TERMS, at(10_000))).toBe(true)
    expect(isDue(live([clean, stored, { kind: 'closed' }]).life, TERMS, at(1_000))).toBe(true)
    const changed = live([durable, stored, { kind: 'closed' }, { ...clean, session: 'new' }]).life
    expect(isDue(changed, TERMS, at(1_000))).toBe(true)
  })

  test('a device that comes back again and again and never finishes has until the command expires', () => {
    const held = [durable, stored, received, stored] as const
    const flapping = (ms: number) => [{ kind: 'closed' }, [durable, at(ms)]] as const
    const early = live([...held, ...flapping(9_500)] as never).life
    expect(isDue(early, TERMS, at(10_499))).toBe(false)
    const { life, effects } = live([...held, ...flapping(9_500), ...flapping(10_200)] as never)
    expect(effects.at(-1)).toEqual([release])
    expect(isDue(life, TERMS, at(10_500))).toBe(true)
  })

  test('an answer before PUBREC ends it, and the handshake is finished when the answer is on disk', () => {
    const early = [durable, stored, { kind: 'answered' }] as const
    expect(live([...early, received, stored, completed]).effects.slice(2)).toEqual([[store], [], [release], [store]])
    expect(live([...early, stored, received]).effects.slice(2)).toEqual([[store], [], [release]])
    expect(live([...early, received, stored, completed, stored]).life).toEqual({ phase: 'ended', outcome: 'ANSWERED' })
    expect(isAnswered(live(early).life)).toBe(true)
  })

  test('an answer counts until the deadline was told, and not after', () => {
    const late = [durable, stored, received, stored, completed, [{ kind: 'tick' }, at(1_000)]] as const
    expect(isAnswered(live([...late, { kind: 'answered' }] as never).life)).toBe(true)
    const told = live([...late, { kind: 'told' }, { kind: 'answered' }] as never)
    expect(told.life).toEqual({ phase: 'ended', outcome: 'TIMED_OUT' })
  })

  test('what was reported as over is not released', () => {
    const over = [durable, stored, [{ kind: 'tick' }, at(1_000)], received, stored] as const
    expect(live(over as never).effects.slice(3)).toEqual([[], []])
  })
})
