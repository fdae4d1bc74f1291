import { describe, expect, test } from 'vitest'
import { type DeviceStatus, parseStatus, type StatusEvent, transition } from '../../../edge/broker/device-status.ts'

const lost = (will: DeviceStatus | null = null): StatusEvent => ({ kind: 'lost', reason: 'connection lost', will })

describe('the status of a device', () => {
  test.each<[DeviceStatus | null, StatusEvent, DeviceStatus | null, string | null]>([
    [null, { kind: 'connected' }, 'ONLINE', 'device connected'],
    ['OFFLINE', { kind: 'connected' }, 'ONLINE', 'device connected'],
    ['ONLINE', { kind: 'connected' }, 'ONLINE', null],
    ['MAINTENANCE', { kind: 'connected' }, 'MAINTENANCE', null],
    ['ERROR', { kind: 'connected' }, 'ERROR', null],
    ['ONLINE', { kind: 'disconnected' }, 'OFFLINE', 'device disconnected'],
    ['ERROR', { kind: 'disconnected' }, 'OFFLINE', 'device disconnected'],
    ['OFFLINE', { kind: 'disconnected' }, 'OFFLINE', null],
    [null, { kind: 'disconnected' }, null, null],
    ['ONLINE', lost(), 'OFFLINE', 'connection lost'],
    ['ONLINE', { kind: 'lost', reason: 'keepalive timeout', will: null }, 'OFFLINE', 'keepalive timeout'],
    ['ONLINE', lost('OFFLINE'), 'ONLINE', null],
    ['ONLINE', lost('MAINTENANCE'), 'ONLINE', null],
    ['OFFLINE', lost(), 'OFFLINE', null],
    [null, lost(), null, null],
    [null, { kind: 'missing' }, 'OFFLINE', 'not back after a restart of the gateway'],
    ['MAINTENANCE', { kind: 'missing' }, 'MAINTENANCE', null],
    ['ONLINE', { kind: 'reported', status: 'MAINTENANCE' }, 'MAINTENANCE', null],
    [null, { kind: 'reported', status: 'OFFLINE' }, 'OFFLINE', null],
  ])('%s, then %o, is %s with the fact %s', (before, event, after, reason) => {
    const fact = reason === null ? null : { status: after, reason }
    expect(transition(before, event)).toEqual({ status: after, fact })
  })

  test('is read from a message of the status topic, if that is what it is', () => {
    expect(parseStatus(Buffer.from('{"status":"MAINTENANCE","reason":"cleaning"}'))).toBe('MAINTENANCE')
    for (const payload of ['', 'ONLINE', '"ONLINE"', 'null', '{}', '{"status":"SLEEPY"}', '{"status":1}', '{']) {
      expect(parseStatus(Buffer.from(payload))).toBeNull()
    }
  })
})
