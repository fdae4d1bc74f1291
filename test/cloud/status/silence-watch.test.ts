import { sql } from 'kysely'
import { expect, it, onTestFinished } from 'vitest'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { SilenceWatch, type SilenceWatchOptions } from '../../../cloud/status/status.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { devicesBehind, hello, outboxRecords, statusCore } from '../../support/status-core.ts'
import { until } from '../../support/until.ts'

const MINUTE_MS = 60_000
const PERIOD_MS = 5_000
const signal = new AbortController().signal

await describeOnEveryDatabase('the watch over silent devices', (database) => {
  const watchOn = (
    handle: DatabaseHandle,
    clock: ManualClock,
    coreId = 'core-1',
    changes: Partial<SilenceWatchOptions> = {},
  ) => {
    const core = statusCore(handle, clock, coreId)
    const settings = { silentAfterMs: 15 * MINUTE_MS, silentAfterMsByType: { METER: 60 * MINUTE_MS } }
    const watch = new SilenceWatch({ ...core.common, settings, checkPeriodMs: PERIOD_MS, ...changes })
    onTestFinished(() => watch.stop(signal))
    return { ...core, watch }
  }
  const open = async (changes: Partial<SilenceWatchOptions> = {}) => {
    const handle = await database.open()
    const clock = new ManualClock()
    const core = watchOn(handle, clock, 'core-1', changes)
    await core.registry.gatewayConnected(hello('gw-1'))
    const [inverter, meter, quiet] = (await devicesBehind(core, 'gw-1', ['INV-1', 'MTR-1', 'INV-2'])) as [
      number,
      number,
      number,
    ]
    const nowMs = clock.wallMs()
    await core.registry.setStatuses(
      [inverter, meter, quiet].map((deviceId) => ({ deviceId, status: 'ONLINE', atMs: nowMs })),
    )
    await core.registry.devices.update(quiet, { silentAfterMs: 0 })
    return { ...core, handle, clock, inverter, meter, quiet }
  }
  /** Time passes in which a core watches and the gateway is heard of, and then it looks. */
  const pass = async (
    { handle, clock, watch }: { handle: DatabaseHandle; clock: ManualClock; watch: SilenceWatch },
    ms: number,
  ) => {
    clock.advance(ms)
    await handle.kysely.updateTable('gateways').set({ last_seen_at_ms: clock.wallMs() }).execute()
    await watch.look(signal, clock.monotonicMs())
  }
  const statusOf = async ({ registry }: { registry: ReturnType<typeof watchOn>['registry'] }, id: number) => {
    const device = await registry.devices.get(id)
    return [device?.status, device?.statusReason, device?.silentSinceMs === null ? 'heard' : 'silent']
  }

  it('makes a silent device OFFLINE, with its record, and ONLINE with the first word of it', async () => {
    const core = await open({ settings: { silentAfterMs: MINUTE_MS, silentAfterMsByType: { METER: 60 * MINUTE_MS } } })
    const { handle, watch, clock, inverter, meter, quiet } = core
    const startedAtMs = clock.wallMs()
    await watch.look(signal, 0)
    await pass(core, MINUTE_MS - 1)
    expect(await outboxRecords(handle)).toEqual([])
    await pass(core, PERIOD_MS)
    expect(watch.stats().fellSilent).toBe(1)
    const reason = expect.stringMatching(/^No data for 1 min( \d s)?; something is expected every 1 min$/)
    expect(await statusOf(core, inverter)).toEqual(['OFFLINE', reason, 'silent'])
    expect(await statusOf(core, meter)).toEqual(['ONLINE', null, 'heard'])
    expect(await statusOf(core, quiet)).toEqual(['ONLINE', null, 'heard'])
    expect((await core.registry.devices.get(inverter))?.silentSinceMs).toBe(startedAtMs)
    const [record] = await outboxRecords(handle)
    const atMs = (await core.registry.devices.get(inverter))?.statusAtMs as number
    expect(record).toEqual({
      topic: 'device-status',
      key: 'INV-1',
      value: {
        deviceId: inverter,
        serialNumber: 'INV-1',
        siteId: 1,
        previousStatus: 'ONLINE',
        newStatus: 'OFFLINE',
        timestamp: new Date(atMs).toISOString(),
        eventType: 'DEVICE_STATUS_CHANGE',
        reason,
      },
      headers: {
        gateway: '$cloud',
        seq: expect.stringMatching(/^[1-9][0-9]{0,15}$/),
        epoch: '$cloud',
        receivedAt: new Date(atMs).toISOString(),
      },
    })
    // No second time.
    await pass(core, 2 * PERIOD_MS)
    expect(watch.stats()).toEqual({ silentDevices: 1, fellSilent: 1, restored: 0 })

    const hear = (heardAtMs: number) =>
      handle.transaction((transaction) =>
        watch.heard(
          new Map([
            [inverter, heardAtMs],
            [meter, heardAtMs],
          ]),
          transaction,
        ),
      )
    // What was heard before it fell silent says nothing new.
    await hear(startedAtMs)
    expect(watch.stats().restored).toBe(0)
    await hear(clock.wallMs() - 1)
    await hear(clock.wallMs())
    expect(await statusOf(core, inverter)).toEqual(['ONLINE', 'Device communication restored', 'heard'])
    const records = await outboxRecords(handle)
    expect(records).toHaveLength(2)
    expect(records[1]).toMatchObject({
      key: 'INV-1',
      value: { previousStatus: 'OFFLINE', newStatus: 'ONLINE', reason: 'Device communication restored' },
      headers: { gateway: '$cloud' },
    })
    expect(records[1]?.headers.seq).not.toBe(record?.headers.seq)
    expect(Date.parse(records[1]?.value.timestamp)).toBeGreaterThan(atMs)
  })

  it('counts what was heard, and that a device said its status again', async () => {
    const core = await open({ settings: { silentAfterMs: MINUTE_MS, silentAfterMsByType: {} } })
    const { handle, watch, clock, inverter, meter } = core
    await watch.look(signal, 0)
    await pass(core, 40_000)
    const latest = { site_id: 1, serial_number: 'INV-1', telemetry: '{}', event_at_ms: 0, received_at_ms: 0 }
    await handle.kysely
      .insertInto('latest_values')
      .values({ device_id: inverter, ...latest, heard_at_ms: clock.wallMs() })
      .execute()
    await handle.transaction((transaction) => core.registry.noteRepeated([meter], transaction))
    await pass(core, 50_000)
    expect(watch.stats().fellSilent).toBe(0)
    await pass(core, 20_000)
    expect(watch.stats().fellSilent).toBe(2)
  })

  it('says nothing of devices behind a gateway that is away, or that was away until now', async () => {
    const core = await open({ settings: { silentAfterMs: MINUTE_MS, silentAfterMsByType: {} } })
    const { watch, registry } = core
    await registry.gatewayDisconnected('gw-1', 'session-1')
    await watch.look(signal, 0)
    await pass(core, 2 * MINUTE_MS)
    await registry.gatewayConnected(hello('gw-1'))
    await pass(core, MINUTE_MS - 10_000)
    expect(watch.stats().fellSilent).toBe(0)
    await pass(core, 20_000)
    expect(watch.stats().fellSilent).toBe(2)
  })

  it('takes what still waits on the bus for no silence, whichever core is behind', async () => {
    const at = { topic: 'device-telemetry', partition: 0 }
    let [next, end] = [10n, 20n]
    const settings = { silentAfterMs: MINUTE_MS, silentAfterMsByType: {} }
    const core = await open({ settings, positions: async () => [{ ...at, nextOffset: next, endOffset: end }] })
    const { watch } = core
    await watch.look(signal, 0)
    await pass(core, 2 * MINUTE_MS)
    // Something is handled, but not what was there when it was asked first, and ever more comes.
    next = 19n
    end = 40n
    await pass(core, 10 * MINUTE_MS)
    expect(watch.stats().fellSilent).toBe(0)
    // All of that is handled: what is known is known as of then.
    next = 20n
    await pass(core, PERIOD_MS)
    expect(watch.stats().fellSilent).toBe(2)
  })

  it('looks at all devices, a step at a time', async () => {
    const core = await open({ settings: { silentAfterMs: 1_000, silentAfterMsByType: {} } })
    const { handle, watch, clock } = core
    const names = Array.from({ length: 4_500 }, (_, i) => `S-${i}`)
    const ids = await devicesBehind(core, 'gw-1', names)
    await core.registry.setStatuses(ids.map((deviceId) => ({ deviceId, status: 'ONLINE', atMs: clock.wallMs() })))
    await watch.look(signal, 0)
    await pass(core, PERIOD_MS)
    await pass(core, PERIOD_MS)
    expect(watch.stats().fellSilent).toBe(4_502)
    expect(await handle.kysely.selectFrom('outbox').select('id').execute()).toHaveLength(4_502)
    // Nobody but those heard comes back, also when there are too many silent ones to be read.
    const heardAtMs = new Map(ids.slice(0, 700).map((id) => [id, clock.wallMs()]))
    await handle.transaction((transaction) => watch.heard(heardAtMs, transaction))
    expect(watch.stats().restored).toBe(700)
    const online = handle.kysely
      .selectFrom('devices')
      .select('id')
      .where('status_reason', '=', 'Device communication restored')
    expect(await online.execute()).toHaveLength(700)
  })

  it('is what a duty does, from the start on', async () => {
    const { watch, clock, handle } = await open({ settings: { silentAfterMs: 10_000, silentAfterMsByType: {} } })
    await watch.start()
    for (let i = 0; i < 200 && watch.stats().fellSilent === 0; i++) {
      clock.advance(i % 10 === 0 ? PERIOD_MS : 0)
      await handle.kysely.updateTable('gateways').set({ last_seen_at_ms: clock.wallMs() }).execute()
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    expect(watch.stats()).toMatchObject({ fellSilent: 2 })
    // Not before it had listened for as long itself.
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(10_000)
  })

  if (database.postgres !== null) {
    it('makes one record of a device, although two cores look at once', async () => {
      const url = await database.freshUrl()
      const clocks = [new ManualClock(), new ManualClock()] as const
      const settings = { silentAfterMs: 1_000, silentAfterMsByType: {} }
      const [here, there] = [
        watchOn(await database.open({ url }), clocks[0], 'core-1', { settings }),
        watchOn(await database.open({ url }), clocks[1], 'core-2', { settings }),
      ]
      await here.registry.gatewayConnected(hello('gw-1'))
      const ids = await devicesBehind(
        here,
        'gw-1',
        Array.from({ length: 300 }, (_, i) => `S-${i}`),
      )
      await here.registry.setStatuses(ids.map((deviceId) => ({ deviceId, status: 'ONLINE', atMs: clocks[0].wallMs() })))
      // Both have the duty, as when one was frozen: neither waits for the other's lease.
      for (const clock of clocks) clock.advance(2_000)
      const look = (core: typeof here) => core.watch.look(signal, 60_000)
      // A round in which nothing can be silent yet, so that time has passed since the first one.
      for (const clock of clocks) clock.stepWall(-2_000)
      await Promise.all([look(here), look(there)])
      for (const clock of clocks) clock.advance(2_000)
      for (let round = 0; round < 3; round++) await Promise.all([look(here), look(there)])
      const records = await outboxRecords(here.database)
      expect(records).toHaveLength(300)
      expect(new Set(records.map(({ key }) => key)).size).toBe(300)
      expect(new Set(records.map(({ headers }) => headers.seq)).size).toBe(300)
      expect(here.watch.stats().fellSilent + there.watch.stats().fellSilent).toBe(300)
    })

    it('finds no silence while it is being stored that the device was heard of', async () => {
      const url = await database.freshUrl()
      const clock = new ManualClock()
      const core = watchOn(await database.open({ url }), clock, 'core-1', {
        settings: { silentAfterMs: 1_000, silentAfterMsByType: {} },
      })
      const { database: handle, watch } = core
      await core.registry.gatewayConnected(hello('gw-1'))
      const [id] = (await devicesBehind(core, 'gw-1', ['INV-1'])) as [number]
      await core.registry.setStatuses([{ deviceId: id, status: 'ONLINE', atMs: clock.wallMs() }])
      const latest = { site_id: 1, serial_number: 'INV-1', telemetry: '{}', event_at_ms: 0, received_at_ms: 0 }
      await handle.kysely
        .insertInto('latest_values')
        .values({ device_id: id, ...latest, heard_at_ms: clock.wallMs() })
        .execute()
      const look = () => watch.look(signal, 60_000)
      await look()
      clock.advance(2_000)
      let looking = Promise.resolve()
      await handle.transaction(async (transaction) => {
        await transaction.updateTable('latest_values').set({ heard_at_ms: clock.wallMs() }).execute()
        looking = look()
        // It waits for this transaction's rows.
        await until(async () => {
          const { rows } = await waiting(handle)
          return rows.length > 0
        })
        await watch.heard(new Map([[id, clock.wallMs()]]), transaction)
      })
      await looking
      // Nor while it says its status again.
      clock.advance(2_000)
      await handle.transaction(async (transaction) => {
        await core.registry.noteRepeated([id], transaction)
        looking = look()
        await until(async () => (await waiting(handle)).rows.length > 0)
      })
      await looking
      expect(await outboxRecords(handle)).toEqual([])
      expect(await statusOf(core, id)).toEqual(['ONLINE', null, 'heard'])
    })
  }
})

/** Statements that wait for a lock. */
function waiting(handle: DatabaseHandle) {
  return sql`select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`.execute(
    handle.kysely,
  )
}
