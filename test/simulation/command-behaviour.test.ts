import { describe, expect, test } from 'vitest'
import { type BehaviourOptions, type CommandMessage, fateOf, newMemory, react } from './command-behaviour.ts'
import type { Reading } from './substation.ts'

const NEVER: BehaviourOptions = { seed: 7, failing: 0, rejecting: 0, slow: 0, silent: 0 }
const TIME_MS = Date.UTC(2026, 5, 21, 12)
const READING: Reading = { timestamp: new Date(TIME_MS).toISOString(), energyKwh: 12_345.67, voltageL1: 277.1 }

const command = (name: string, params: unknown = null): CommandMessage => ({
  commandId: 'cmd-1a2b3c4d',
  name,
  params,
  issuedAt: '2026-06-21T12:00:00Z',
  expiresAt: '2026-06-21T13:00:00Z',
})

function take(
  message: CommandMessage,
  options: BehaviourOptions = NEVER,
  { kind = 'meter' as 'meter' | 'inverter', memory = newMemory(options, 'MTR-001') } = {},
) {
  return react(options, memory, message, { serialNumber: 'MTR-001', kind, timeMs: TIME_MS, reading: () => READING })
}

describe('a simulated device', () => {
  test('answers SET_TOU with a DLMS result and its own time, and has the profile', () => {
    const { answer, memory, delayMs } = take(command('SET_TOU', { tou_profile_id: 'TOU-2025-TEST' }))
    expect(answer).toEqual({
      commandId: 'cmd-1a2b3c4d',
      status: 'SUCCESS',
      payload: { dlmsResultCode: 0, deviceTime: expect.stringMatching(/^2026-06-21T1[12]:\d\d:\d\d\.\d{3}Z$/) },
    })
    expect(memory.touProfileId).toBe('TOU-2025-TEST')
    expect(delayMs).toBeGreaterThanOrEqual(5)
    expect(delayMs).toBeLessThanOrEqual(150)
  })

  test('reads registers by OBIS code or name, and fails with object-undefined for one it lacks', () => {
    const read = take(command('READ_REGISTERS', { registers: ['1.0.1.8.0.255', '1-0:1.8.0*255', 'voltageL1'] }))
    expect(read.answer).toMatchObject({
      status: 'SUCCESS',
      payload: {
        dlmsResultCode: 0,
        registers: { '1.0.1.8.0.255': 12_345.67, '1-0:1.8.0*255': 12_345.67, voltageL1: 277.1 },
      },
    })
    const lacking = take(command('READ_REGISTERS', { registers: ['1.0.1.8.0.255', '1.0.99.1.0.255'] }))
    expect(lacking.answer).toMatchObject({
      status: 'FAILED',
      payload: { dlmsResultCode: 4, unknown: ['1.0.99.1.0.255'] },
    })
  })

  test('sets its clock, reboots, and opens and closes its relay', () => {
    const wrong = newMemory(NEVER, 'MTR-001')
    expect(wrong.clockErrorMs).not.toBe(0)
    const set = take(command('SYNC_TIME'))
    expect(set.answer?.payload).toMatchObject({ adjustedByMs: -wrong.clockErrorMs })
    expect(Date.parse(String(set.answer?.payload?.deviceTime))).toBe(Math.trunc(TIME_MS + set.delayMs))
    const opened = take(command('REMOTE_DISCONNECT'), NEVER, { memory: set.memory })
    expect(opened.memory.relay).toBe('DISCONNECTED')
    const closed = take(command('REMOTE_RECONNECT'), NEVER, { memory: opened.memory })
    const rebooted = take(command('reboot', { force: true }), NEVER, { memory: closed.memory })
    expect(rebooted.memory).toMatchObject({ relay: 'CONNECTED', boots: 2, clockErrorMs: 0, commands: 4 })
  })

  test('rejects what it does not know, cannot use, or is not made for', () => {
    for (const { answer } of [
      take(command('DANCE')),
      take(command('SET_TOU', {})),
      take(command('READ_REGISTERS', { registers: [] })),
      take(command('SET_TOU', { tou_profile_id: 'T' }), NEVER, { kind: 'inverter' }),
    ]) {
      expect(answer).toMatchObject({ status: 'REJECTED', payload: { reason: expect.any(String) } })
    }
  })

  test('that fails gives a result code, and has not done it', () => {
    const always = { ...NEVER, failing: 1 }
    const { answer, memory, fate } = take(command('SET_TOU', { tou_profile_id: 'T' }), always)
    expect(fate).toBe('fails')
    expect(answer?.status).toBe('FAILED')
    expect(answer?.payload?.dlmsResultCode).toBeGreaterThan(0)
    expect(memory.touProfileId).toBeNull()
  })

  test('that stays silent has done it', () => {
    const { answer, memory } = take(command('SET_TOU', { tou_profile_id: 'T' }), { ...NEVER, silent: 1 })
    expect(answer).toBeNull()
    expect(memory.touProfileId).toBe('T')
  })
})

describe('the fates of ten thousand devices', () => {
  const options: BehaviourOptions = { seed: 99, failing: 0.05, rejecting: 0.02, slow: 0.1, silent: 0.01 }
  const serialNumbers = Array.from({ length: 10_000 }, (_, i) => `MTR-${String(i + 1).padStart(5, '0')}`)
  const fates = (seed: number, commands: number) =>
    serialNumbers.map((serialNumber) => fateOf({ ...options, seed }, serialNumber, commands))

  test('have the shares that were asked for', () => {
    const share = (fate: string) => fates(99, 0).filter((each) => each === fate).length / serialNumbers.length
    expect(share('fails')).toBeCloseTo(0.05, 2)
    expect(share('rejects')).toBeCloseTo(0.02, 2)
    expect(share('dawdles')).toBeCloseTo(0.1, 2)
    expect(share('stays-silent')).toBeCloseTo(0.01, 2)
  })

  test('replay from the seed, and differ by seed and from one command to the next', () => {
    expect(fates(99, 0)).toEqual(fates(99, 0))
    expect(fates(99, 0)).not.toEqual(fates(100, 0))
    const failing = fates(99, 0).flatMap((fate, i) => (fate === 'fails' ? [i] : []))
    const again = failing.filter((i) => fates(99, 1)[i] === 'fails')
    expect(again.length).toBeLessThan(failing.length / 4)
  })
})
