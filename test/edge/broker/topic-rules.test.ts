import { describe, expect, test } from 'vitest'
import { type Identity, mayPublish, maySubscribe, ownerOf } from '../../../edge/broker/topic-rules.ts'

const device: Identity = { role: 'device', username: 'INV-001', siteId: 1, serialNumber: 'INV-001' }
const observer: Identity = { role: 'observer', username: 'scada' }
const operator: Identity = { role: 'operator', username: 'alice' }
const local: Identity = { role: 'local' }

describe('publishing', () => {
  test.each(['telemetry', 'status', 'responses'])('a device may publish its own %s', (channel) => {
    expect(mayPublish(device, `sites/1/devices/INV-001/${channel}`)).toMatchObject({
      allowed: true,
      topic: { channel },
    })
  })

  test.each([
    ['sites/1/devices/INV-002/telemetry', 'other-device'],
    ['sites/2/devices/INV-001/telemetry', 'other-device'],
    ['sites/1/devices/INV-001/commands', 'publish-denied'],
    ['sites/1/devices/INV-001/telemetry/x', 'publish-denied'],
    ['sites/01/devices/INV-001/telemetry', 'publish-denied'],
    ['sites/1/devices/inv 001/telemetry', 'publish-denied'],
    ['$SYS/broker', 'publish-denied'],
    ['', 'publish-denied'],
  ])('a device may not publish on %s', (topic, reason) => {
    expect(mayPublish(device, topic)).toEqual({ allowed: false, reason })
  })

  test('those who watch publish nothing', () => {
    expect(mayPublish(observer, 'sites/1/devices/INV-001/telemetry').allowed).toBe(false)
    expect(mayPublish(operator, 'sites/1/devices/INV-001/telemetry').allowed).toBe(false)
  })

  test('a local client may speak for any device, and commands come from the cloud only', () => {
    expect(mayPublish(local, 'sites/7/devices/MTR-9/status').allowed).toBe(true)
    expect(mayPublish(local, 'sites/7/devices/MTR-9/commands').allowed).toBe(false)
    expect(mayPublish(local, 'elsewhere').allowed).toBe(false)
  })
})

describe('subscribing', () => {
  test('a device hears its own commands and nothing else', () => {
    expect(maySubscribe(device, 'sites/1/devices/INV-001/commands')).toBe(true)
    for (const filter of [
      'sites/1/devices/INV-002/commands',
      'sites/1/devices/+/commands',
      'sites/1/devices/INV-001/#',
      '#',
      '$SYS/#',
    ]) {
      expect(maySubscribe(device, filter)).toBe(false)
    }
  })

  test.each([observer, operator])('$role sees device topics', (identity) => {
    for (const filter of [
      'sites/+/devices/+/#',
      'sites/+/devices/+/telemetry',
      'sites/1/devices/+/+',
      'sites/1/devices/INV-001/status',
    ]) {
      expect(maySubscribe(identity, filter)).toBe(true)
    }
    for (const filter of [
      '#',
      '+/+/+/+/+',
      'sites/#',
      'sites/+/devices/#',
      'sites/+/devices/+/telemetry/#',
      'sites/+/other/+/#',
    ]) {
      expect(maySubscribe(identity, filter)).toBe(false)
    }
  })

  test('the broker itself is for operators to watch', () => {
    for (const filter of ['$SYS/#', '$SYS/+/new/clients']) {
      expect([device, observer, local].some((identity) => maySubscribe(identity, filter))).toBe(false)
      expect(maySubscribe(operator, filter)).toBe(true)
    }
    expect(maySubscribe(operator, '$SYS')).toBe(false)
    expect(maySubscribe(operator, '$share/g/sites/+/devices/+/telemetry')).toBe(false)
  })

  test('a local client sees what is below sites/', () => {
    expect(maySubscribe(local, 'sites/#')).toBe(true)
    expect(maySubscribe(local, '#')).toBe(false)
    expect(maySubscribe(local, '$SYS/#')).toBe(false)
  })
})

test('client ids belong to logins; those without one share theirs', () => {
  expect(ownerOf(device)).not.toBe(ownerOf(observer))
  expect(ownerOf(local)).toBe(ownerOf({ role: 'local' }))
  expect(ownerOf({ role: 'observer', username: 'local' })).not.toBe(ownerOf(local))
})
