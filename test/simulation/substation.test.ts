import { describe, expect, test } from 'vitest'
import { type Reading, simulateSubstation } from './substation.ts'
import { DAY_MS, HOUR_MS, sunHeight } from './weather.ts'

const midsummer = Date.UTC(2026, 5, 20)
const substation = (seed = 7) => simulateSubstation({ seed, siteId: 1, inverters: 3, meters: 2 })
const value = (reading: Reading, field: string): number => reading[field] as number

/** Every device's readings of three days, one a minute. */
function threeDays(seed = 7): Map<string, Reading[]> {
  const days = new Map<string, Reading[]>()
  for (const device of substation(seed)) {
    const readings: Reading[] = []
    for (let at = midsummer; at < midsummer + 3 * DAY_MS; at += 60_000) readings.push(device.readingAt(at))
    days.set(device.serialNumber, readings)
  }
  return days
}

describe('a simulated substation', () => {
  test('names its devices and their topics', () => {
    expect(substation().map((device) => device.serialNumber)).toEqual([
      'INV-001',
      'INV-002',
      'INV-003',
      'MTR-001',
      'MTR-002',
    ])
    expect(substation()[0]?.telemetryTopic).toBe('sites/1/devices/INV-001/telemetry')
  })

  test('replays from its seed, and another seed is another substation', () => {
    expect(threeDays(7)).toEqual(threeDays(7))
    expect(threeDays(7)).not.toEqual(threeDays(8))
  })

  test('its inverters rest at night, earn at noon, and differ from one another', () => {
    const days = threeDays()
    const first = days.get('INV-001') ?? []
    const second = days.get('INV-002') ?? []
    for (const reading of first) {
      const at = Date.parse(reading.timestamp)
      if (sunHeight(at) < -0.01) expect(reading).toMatchObject({ powerKw: 0, current: 0, state: 'STANDBY' })
    }
    const noons = first.filter((reading) => reading.timestamp.includes('T11:') || reading.timestamp.includes('T12:'))
    const mean = noons.reduce((sum, reading) => sum + value(reading, 'powerKw'), 0) / noons.length
    expect(mean).toBeGreaterThan(15)
    expect(second).not.toEqual(first)
  })

  test('its inverters obey physics', () => {
    for (const reading of threeDays().get('INV-002') ?? []) {
      const expectedAmps = (value(reading, 'powerKw') * 1000) / (Math.sqrt(3) * value(reading, 'voltage'))
      expect(value(reading, 'current')).toBeCloseTo(expectedAmps, 1)
      expect(value(reading, 'voltage')).toBeGreaterThan(465)
      expect(value(reading, 'voltage')).toBeLessThan(495)
      expect(value(reading, 'efficiency')).toBeLessThan(99)
      expect(value(reading, 'temperature')).toBeGreaterThan(0)
      expect(value(reading, 'temperature')).toBeLessThan(80)
      expect(Math.abs(value(reading, 'frequency') - 50)).toBeLessThan(0.05)
    }
  })

  test('an energy register never falls and counts what the power adds up to', () => {
    const readings = threeDays().get('MTR-001') ?? []
    let sumKwh = 0
    for (let i = 1; i < readings.length; i++) {
      const [before, after] = [readings[i - 1] as Reading, readings[i] as Reading]
      expect(value(after, 'energyKwh')).toBeGreaterThanOrEqual(value(before, 'energyKwh'))
      sumKwh += value(after, 'powerKw') / 60
    }
    const first = readings[0] as Reading
    const last = readings.at(-1) as Reading
    expect(value(last, 'energyKwh') - value(first, 'energyKwh')).toBeCloseTo(sumKwh, 0)
  })

  test('today’s energy begins again at midnight', () => {
    const [inverter] = substation()
    inverter?.readingAt(midsummer + 7 * HOUR_MS)
    expect(inverter?.readingAt(midsummer + 17 * HOUR_MS).energyTodayKwh).toBeGreaterThan(10)
    expect(inverter?.readingAt(midsummer + DAY_MS + 60_000).energyTodayKwh).toBe(0)
  })

  test('a reading is about two hundred bytes of JSON', () => {
    for (const readings of threeDays().values()) {
      const bytes = readings.map((reading) => JSON.stringify(reading).length)
      expect(bytes.reduce((sum, size) => sum + size, 0) / bytes.length).toBeGreaterThan(170)
      expect(Math.max(...bytes)).toBeLessThan(230)
    }
  })
})
