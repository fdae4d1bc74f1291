import { describe, expect, test } from 'vitest'
import {
  askedBack,
  cancelled,
  handedOver,
  overdue,
  refused,
  reported,
  rerouted,
  stored,
} from '../../../cloud/gateways/command-step.ts'
import type { CommandRow } from '../../../cloud/gateways/device-command-rows.ts'
import { report } from '../../support/dispatch-core.ts'

const NOW = 1_000_000
const SESSION = { gatewayId: 'g1', sessionId: 's1' }

const queued: CommandRow = {
  command_id: 'a',
  owner: 'command',
  task_id: null,
  device_id: 1,
  site_id: 1,
  serial_number: 'm1',
  state: 'QUEUED',
  expires_at_ms: NOW + 10_000,
  timeout_ms: 2_000,
  deadline_at_ms: NOW + 10_000,
  gateway_id: 'g1',
  session_id: null,
  sent_at_ms: null,
  stored_at_ms: null,
  delivered_at_ms: null,
  cancel_requested_at_ms: null,
  cancel_session_id: null,
  cancel_sent_at_ms: null,
  finished_at_ms: null,
  late_at_ms: null,
}
const sent = rowOf(handedOver(queued, SESSION, 500, NOW))
const inInbox = rowOf(stored(sent, 'g1', NOW))
const refusedRow = rowOf(refused(sent, 's1', NOW + 5))
const delivered = rowOf(reported(sent, [report('a', 'DELIVERED')], NOW))
const done = rowOf(reported(sent, [report('a', 'SUCCEEDED')], NOW))

function rowOf(step: { readonly row: CommandRow } | null): CommandRow {
  if (step === null) throw new Error('no step')
  return step.row
}

describe('handing over', () => {
  test('gives it to the session, with the deadline of what is on its way', () => {
    expect(sent).toMatchObject({ state: 'SENT', session_id: 's1', sent_at_ms: NOW, deadline_at_ms: NOW + 12_500 })
  })

  test('once more is news to nobody', () => {
    const again = handedOver(sent, { gatewayId: 'g1', sessionId: 's2' }, 500, NOW + 1)
    expect(again?.row).toMatchObject({ session_id: 's2', sent_at_ms: NOW + 1 })
    expect(again?.changes).toEqual([])
  })

  test('is not for what a gateway or a device has, what ended, or what belongs to another gateway', () => {
    for (const row of [inInbox, delivered, done]) expect(handedOver(row, SESSION, 0, NOW)).toBeNull()
    expect(handedOver(sent, { gatewayId: 'g2', sessionId: 's2' }, 0, NOW)).toBeNull()
  })
})

describe('a receipt', () => {
  test('counts once, from the gateway that was given it', () => {
    expect(inInbox.stored_at_ms).toBe(NOW)
    expect(stored(inInbox, 'g1', NOW)).toBeNull()
    expect(stored(sent, 'g2', NOW)).toBeNull()
    expect(stored(done, 'g1', NOW)).toBeNull()
  })

  test('of refusal makes it wait again, until it expires', () => {
    expect(refusedRow).toMatchObject({
      state: 'SENT',
      session_id: null,
      sent_at_ms: NOW + 5,
      deadline_at_ms: NOW + 10_000,
    })
    expect(overdue(refusedRow, NOW + 10_000)?.row.state).toBe('EXPIRED')
    expect(cancelled(refusedRow, NOW)?.row.state).toBe('CANCELLED')
  })

  test('of refusal counts only of the session that has it', () => {
    expect(refused(sent, 's0', NOW)).toBeNull()
    expect(refused(inInbox, 's1', NOW)).toBeNull()
    expect(refused(delivered, 's1', NOW)).toBeNull()
  })
})

describe('cancelling', () => {
  test('asks once, and only for what has not reached the device', () => {
    const asked = rowOf(cancelled(sent, NOW))
    expect(asked.cancel_requested_at_ms).toBe(NOW)
    for (const row of [asked, delivered, done]) expect(cancelled(row, NOW + 1)).toBeNull()
    expect(askedBack(asked, 's1', NOW)?.row).toMatchObject({ cancel_session_id: 's1', cancel_sent_at_ms: NOW })
    expect(askedBack(sent, 's1', NOW)).toBeNull()
    const late = rowOf(reported(asked, [report('a', 'DELIVERED')], NOW))
    expect(askedBack(late, 's1', NOW)).toBeNull()
  })
})

describe('a device behind another gateway', () => {
  test('takes along what was never handed over, and nothing else', () => {
    expect(rerouted(queued, 'g2')?.row.gateway_id).toBe('g2')
    expect(rerouted(queued, 'g1')).toBeNull()
    for (const row of [sent, inInbox, refusedRow, delivered, done]) expect(rerouted(row, 'g2')).toBeNull()
  })
})

describe('a deadline', () => {
  test.each([
    ['what waits', queued, NOW + 10_000, 'EXPIRED'],
    ['what was sent', sent, NOW + 12_500, 'TIMED_OUT'],
    ['what a gateway has', inInbox, NOW + 12_500, 'TIMED_OUT'],
    ['what a device has', delivered, NOW + 12_500, 'TIMED_OUT'],
  ] as const)('ends %s, not a millisecond early', (_, row, atMs, state) => {
    expect(overdue(row, atMs - 1)).toBeNull()
    const step = overdue(row, atMs)
    expect(step?.row).toMatchObject({ state, finished_at_ms: atMs })
    expect(step?.changes).toMatchObject([{ from: row.state, to: state, atMs, late: false }])
    expect(step?.changes[0]?.reason).toBeTruthy()
  })

  test('is nothing to what ended', () => {
    expect(overdue(done, NOW + 1_000_000)).toBeNull()
  })
})

describe('reports', () => {
  test('of a gateway mean that it has the command', () => {
    expect(delivered).toMatchObject({ state: 'DELIVERED', stored_at_ms: NOW, delivered_at_ms: 1_700_000_000_000 })
    expect(done).toMatchObject({ state: 'SUCCEEDED', stored_at_ms: NOW, finished_at_ms: NOW })
  })

  test('of what was never handed over keep it from being given up before the device may answer', () => {
    const early = rowOf(reported(queued, [report('a', 'DELIVERED')], NOW))
    expect(early.deadline_at_ms).toBe(NOW + 12_000)
    expect(overdue(early, NOW + 12_000)?.row.state).toBe('TIMED_OUT')
  })

  test('after the end are kept once', () => {
    const timedOut = rowOf(overdue(sent, NOW + 12_500))
    const step = reported(timedOut, [report('a', 'FAILED'), report('a', 'SUCCEEDED')], NOW)
    expect(step?.changes).toMatchObject([{ from: 'TIMED_OUT', to: 'FAILED', late: true }])
    expect(step?.row).toMatchObject({ state: 'TIMED_OUT', late_at_ms: NOW })
    expect(reported(rowOf(step), [report('a', 'SUCCEEDED')], NOW)).toBeNull()
  })
})
