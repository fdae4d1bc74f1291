import fc from 'fast-check'
import { expect, it, test } from 'vitest'
import { intervalOf, isSilent, type ListenedDevice, silenceReason } from '../../../cloud/status/silence.ts'
import { SilenceStore } from '../../../cloud/status/silence-store.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { devicesBehind, hello, statusCore } from '../../support/status-core.ts'

const NOW_MS = 100_000
const settings = { silentAfterMs: 1_000, silentAfterMsByType: { METER: 5_000, BREAKER: 0 } }
const silent: ListenedDevice = {
  status: 'ONLINE',
  deviceType: 'SOLAR_INVERTER',
  silentAfterMs: null,
  statusAtMs: 50_000,
  repeatedAtMs: null,
  heardAtMs: 99_000,
  gateway: { connected: true, connectedAtMs: 20_000, backlogOldestMs: null, clockOffsetMs: null },
}
const judge = (changes: Partial<ListenedDevice> = {}, listeningSinceMs = 0) =>
  isSilent({ ...silent, ...changes }, settings, NOW_MS, listeningSinceMs)
const behind = (changes: Partial<NonNullable<ListenedDevice['gateway']>>) =>
  judge({ gateway: { ...(silent.gateway as NonNullable<ListenedDevice['gateway']>), ...changes } })

test('a device is silent when nothing was heard of it for its interval', () => {
  expect(judge()).toBe(true)
  expect(judge({ heardAtMs: 99_001 })).toBe(false)
  expect(judge({ heardAtMs: null })).toBe(true)
  expect(judge({ statusAtMs: 99_001 })).toBe(false)
  expect(judge({ repeatedAtMs: 99_001 })).toBe(false)
  for (const status of ['OFFLINE', 'ERROR', 'MAINTENANCE', null] as const) expect(judge({ status })).toBe(false)
})

test('the interval is its own, that of its type, or that of all; 0 is never', () => {
  const of = (silentAfterMs: number | null, deviceType: string) => intervalOf({ silentAfterMs, deviceType }, settings)
  expect([of(7, 'METER'), of(null, 'METER'), of(null, 'SENSOR'), of(0, 'SENSOR')]).toEqual([7, 5_000, 1_000, 0])
  expect(judge({ silentAfterMs: 0 })).toBe(false)
  expect(judge({ deviceType: 'BREAKER' })).toBe(false)
  expect(judge({ deviceType: 'METER' })).toBe(false)
  expect(judge({ deviceType: 'METER', heardAtMs: 95_000 })).toBe(true)
})

test('nothing is said of a device that could not be heard', () => {
  expect(judge({ gateway: null })).toBe(false)
  expect(behind({ connected: false })).toBe(false)
  expect(behind({ connectedAtMs: 99_001 })).toBe(false)
  expect(judge({}, 99_001)).toBe(false)
})

test('nothing is said of time of which the gateway still holds records', () => {
  expect(behind({ backlogOldestMs: 98_999 })).toBe(false)
  // What it received in the last half second is still to come: a device heard a second before now is not silent yet.
  expect(behind({ backlogOldestMs: 99_500 })).toBe(false)
  const gateway = { connected: true, connectedAtMs: 0, backlogOldestMs: 99_500, clockOffsetMs: 0 }
  expect(judge({ heardAtMs: 98_500, gateway })).toBe(true)
  expect(judge({ heardAtMs: 98_501, gateway })).toBe(false)
  // By a clock that is half a second ahead of ours.
  expect(judge({ heardAtMs: 98_500, gateway: { ...gateway, clockOffsetMs: 500 } })).toBe(false)
  expect(judge({ heardAtMs: 98_000, gateway: { ...gateway, clockOffsetMs: 500 } })).toBe(true)
})

test('the reason says for how long, and what was expected', () => {
  expect(silenceReason(15 * 60_000, 15 * 60_000)).toBe('No data for 15 min; something is expected every 15 min')
  expect(silenceReason(7_265_000, 3_600_000)).toBe('No data for 2 h 1 min; something is expected every 1 h')
  expect(silenceReason(30_000, 1_500)).toBe('No data for 30 s; something is expected every 1.5 s')
})

await describeOnEveryDatabase('the question for silent devices', (database) => {
  it('comes to what is decided of each device alone', async () => {
    const handle = await database.open()
    const core = statusCore(handle, new ManualClock())
    const store = new SilenceStore(handle)
    const names = Array.from({ length: 200 }, (_, i) => `S-${i}`)
    const ids = (await devicesBehind(core, 'gw-0', names)).sort((a, b) => a - b)
    for (let i = 0; i < names.length; i++) await core.registry.gateways.connected(hello(`gw-${i}`), true)
    const near = fc.oneof(
      fc.integer({ min: NOW_MS - 12_000, max: NOW_MS + 100 }),
      fc.constantFrom(NOW_MS - 1_000, NOW_MS - 5_000, NOW_MS - 4_999, 0),
    )
    const listened: fc.Arbitrary<ListenedDevice & { lastSeenAtMs: number }> = fc.record({
      status: fc.constantFrom('ONLINE' as const, 'ONLINE' as const, 'ONLINE' as const, 'OFFLINE' as const, null),
      deviceType: fc.constantFrom('SENSOR', 'METER', 'BREAKER'),
      silentAfterMs: fc.option(fc.constantFrom(0, 300, 2_000), { freq: 2 }),
      statusAtMs: fc.option(near),
      repeatedAtMs: fc.option(near, { freq: 1 }),
      heardAtMs: fc.option(near),
      lastSeenAtMs: fc.constantFrom(NOW_MS - 60_000, NOW_MS - 60_001, NOW_MS),
      gateway: fc.option(
        fc.record({
          connected: fc.constantFrom(true, true, true, false),
          connectedAtMs: fc.option(near),
          backlogOldestMs: fc.option(near, { freq: 1 }),
          clockOffsetMs: fc.option(fc.integer({ min: -2_000, max: 2_000 }), { freq: 1 }),
        }),
        { freq: 8 },
      ),
    })
    const drawn = fc.sample(listened, { numRuns: ids.length, seed: 5 })
    await handle.transaction(async (transaction) => {
      for (const [i, device] of drawn.entries()) {
        const { gateway } = device
        const id = ids[i] as number
        await transaction
          .updateTable('devices')
          .set({
            gateway_id: gateway === null ? null : `gw-${i}`,
            status: device.status,
            device_type: device.deviceType,
            silent_after_ms: device.silentAfterMs,
            status_at_ms: device.statusAtMs,
            status_repeated_at_ms: device.repeatedAtMs,
          })
          .where('id', '=', id)
          .execute()
        await transaction
          .updateTable('gateways')
          .set({
            connected: gateway?.connected === false ? 0 : 1,
            connected_at_ms: gateway?.connectedAtMs ?? null,
            last_seen_at_ms: device.lastSeenAtMs,
            backlog_oldest_ms: gateway?.backlogOldestMs ?? null,
            clock_offset_ms: gateway?.clockOffsetMs ?? null,
          })
          .where('id', '=', `gw-${i}`)
          .execute()
        if (device.heardAtMs === null && i % 2 === 0) continue
        const latest = { site_id: 1, serial_number: `S-${i}`, telemetry: '{}', event_at_ms: 0, received_at_ms: 0 }
        await transaction
          .insertInto('latest_values')
          .values({ device_id: id, ...latest, heard_at_ms: device.heardAtMs })
          .execute()
      }
    })
    let found = 0
    for (const listeningSinceMs of [0, NOW_MS - 4_000, NOW_MS]) {
      const question = { settings, nowMs: NOW_MS, listeningSinceMs, gatewaysHeardSinceMs: NOW_MS - 60_000 }
      const expected = ids.filter((_, i) => {
        const device = drawn[i] as (typeof drawn)[number]
        const heardOf = device.lastSeenAtMs >= NOW_MS - 60_000
        const gateway = device.gateway && { ...device.gateway, connected: device.gateway.connected && heardOf }
        return isSilent({ ...device, gateway }, settings, NOW_MS, listeningSinceMs)
      })
      const last = (await store.stepEnd(0, 1_000)) as number
      expect((await store.silent(question, 0, last)).map(({ id }) => id)).toEqual(expected)
      found += expected.length
    }
    expect(found).toBeGreaterThan(20)
    expect(await store.stepEnd(ids.at(-1) as number, 10)).toBeNull()
    expect(await store.stepEnd(0, 3)).toBe(ids[2])
  })
})
