import { describe, expect, test } from 'vitest'
import {
  assertMoves,
  COMMAND_STATES,
  type CommandState,
  type Effect,
  effectOf,
  FINAL_STATES,
  isFinal,
  reportedState,
} from '../../../cloud/gateways/command-state.ts'

/** m: moves, l: late, -: unchanged. Columns in the order of COMMAND_STATES. */
const TABLE: Readonly<Record<CommandState, string>> = {
  //          Q S D  S F R T E C
  QUEUED: '   - m m  m m m m m m',
  SENT: '     - - m  m m m m m m',
  DELIVERED: '- - -  m m m m - -',
  SUCCEEDED: '- - -  - l l - - -',
  FAILED: '   - - -  l - l - - -',
  REJECTED: ' - - -  l l - - - -',
  TIMED_OUT: '- - -  l l l - l l',
  EXPIRED: '  - - -  l l l - - -',
  CANCELLED: '- - -  l l l - - -',
}
const EFFECTS: Readonly<Record<string, Effect>> = { m: 'moves', l: 'late', '-': 'unchanged' }

describe('what may follow what', () => {
  const cases = COMMAND_STATES.flatMap((from) => {
    const letters = TABLE[from].replaceAll(' ', '')
    return COMMAND_STATES.map((to, i) => [from, to, EFFECTS[letters[i] as string]] as const)
  })
  test.each(cases)('%s, then %s: %s', (from, to, effect) => {
    expect(effectOf(from, to)).toBe(effect)
  })

  test('nothing leads out of a final state, and everything else leads into one', () => {
    for (const from of COMMAND_STATES) {
      const next = COMMAND_STATES.filter((to) => effectOf(from, to) === 'moves')
      expect(next.length === 0).toBe(isFinal(from))
      expect(next.some((to) => isFinal(to))).toBe(!isFinal(from))
    }
    expect(COMMAND_STATES.filter(isFinal)).toEqual([...FINAL_STATES])
  })

  test('a step of the cloud that is not one is a programmer’s mistake', () => {
    expect(() => assertMoves('DELIVERED', 'EXPIRED')).toThrow('DELIVERED does not become EXPIRED')
  })
})

test('a command that was asked back and then expired at its gateway counts as cancelled', () => {
  expect(reportedState('EXPIRED', true)).toBe('CANCELLED')
  expect(reportedState('EXPIRED', false)).toBe('EXPIRED')
  expect(reportedState('SUCCEEDED', true)).toBe('SUCCEEDED')
})
