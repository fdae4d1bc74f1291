import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { AlertView } from '../../../cloud/alerts/alerts.ts'
import type { BusRecord } from '../../../cloud/bus/bus.ts'
import type { Notice } from '../../../cloud/notifications/notifications.ts'
import { systemClock } from '../../../shared/clock.ts'
import { HOT, startAlertCore } from '../../support/alert-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { type StartedAlerts, startAlerts, statusRecord, T0, temp } from '../../support/started-alerts.ts'
import { until } from '../../support/until.ts'

await describeOnEveryDatabase('alert evaluation', (databases) => {
  describe('of live readings', () => {
    test('opens and closes an alert, tells each once, and keeps the worst value', async () => {
      const core = await startAlerts(databases)
      const rule = await core.rules.create({ ...HOT, recipients: { userIds: ['ops', 'boss'], subscribers: true } })
      await core.send(temp(1, 1, 79), temp(1, 2, 81), temp(2, 2, 50), temp(1, 3, 95), temp(1, 4, 'n/a'), temp(1, 5, 90))
      await core.settled()
      const [open] = (await core.all()) as [AlertView]
      expect(open).toMatchObject({
        ...{
          ruleId: rule.id,
          ruleName: 'Too hot',
          severity: 'CRITICAL',
          siteId: 1,
          deviceId: 1,
          serialNumber: 'INV-1',
        },
        ...{
          state: 'OPEN',
          past: false,
          sinceMs: T0 + 2_000,
          openedAtMs: T0 + 2_000,
          closedAtMs: null,
          valueOpened: 81,
        },
        ...{ valueWorst: 95, valueClosed: null, closeReason: null, rule },
      })
      await core.send(temp(1, 6, 80))
      await core.settled()
      expect(await core.all()).toMatchObject([
        {
          id: open.id,
          state: 'CLOSED',
          closedAtMs: T0 + 6_000,
          closeReason: 'RECOVERED',
          valueWorst: 95,
          valueClosed: 80,
        },
      ])
      for (const user of ['ops', 'boss'])
        expect(await core.told(user)).toEqual(['Too hot: INV-1', 'Too hot: INV-1 is back'])
      const [notice] = await core.database.kysely
        .selectFrom('notifications')
        .selectAll()
        .where('title', 'like', '%back')
        .execute()
      expect(notice).toMatchObject({
        type: 'TELEMETRY_ALERT',
        severity: 'CRITICAL',
        related_entity_id: open.id,
        site_id: 1,
      })
      expect(notice?.content).toBe('tempC of INV-1 at site 1 is back at 80. It was above 80 for 4.0 s, at worst 95.')
      expect(core.evaluation.stats()).toMatchObject({ rules: 1, opened: 1, closed: 1, past: 0, evaluated: 7 })
      const [changed] = (await core.alerts.changedSince(open.updatedAtMs, 10)) as [AlertView]
      expect(changed).toEqual(await core.alerts.get(open.id))
      expect(await core.alerts.changedSince(changed.updatedAtMs, 10, changed.id)).toEqual([])
      expect(await core.alerts.changedSince(changed.updatedAtMs + 1, 10)).toEqual([])
    })

    test('writes nothing while nothing changes, and reads nothing of devices without a rule', async () => {
      const core = await startAlerts(databases)
      await core.rules.create({ ...HOT, deviceType: 'METER' })
      await core.send(...[1, 2, 3].map((second) => temp(1, second, 99)))
      await core.settled()
      expect(core.evaluation.stats()).toMatchObject({ skipped: 3, evaluated: 0 })
      await core.rules.create(HOT)
      await core.send(...[4, 5, 6].map((second) => temp(1, second, 20)))
      await core.settled()
      expect(core.evaluation.stats()).toMatchObject({ skipped: 3, evaluated: 3 })
      expect(await core.database.kysely.selectFrom('alert_states').selectAll().execute()).toEqual([])
      await core.send(temp(1, 7, 99), temp(2, 7, 99, { deviceType: 'METER' }))
      await core.settled()
      expect((await core.all()).map(({ deviceId }) => deviceId).toSorted()).toEqual([1, 2, 2])
    })

    test('goes on where it was after a restart, and old records that come again change nothing', async () => {
      const first = await startAlerts(databases)
      await first.rules.create({ ...HOT, durationSeconds: 10 })
      const records = [temp(1, 0, 20), temp(1, 1, 90), temp(1, 2, 91), temp(2, 1, 90)]
      await first.send(...records)
      await first.settled()
      expect(await first.all()).toEqual([])
      await first.stop()
      const second = await startAlerts(databases, { url: first.url, bus: first.bus })
      await second.send(...records, temp(1, 11, 92), temp(2, 10, 90), temp(1, 12, 20), ...records)
      await second.settled()
      expect(await second.all()).toMatchObject([
        { deviceId: 1, sinceMs: T0 + 1_000, openedAtMs: T0 + 11_000, state: 'CLOSED' },
      ])
      await second.stop()
      const third = await startAlerts(databases, { url: first.url, bus: first.bus })
      await third.send(temp(1, 1, 90), temp(1, 11, 92), temp(2, 11, 95))
      await third.settled()
      expect((await third.all()).map(({ deviceId, state }) => [deviceId, state])).toEqual([
        [1, 'CLOSED'],
        [2, 'OPEN'],
      ])
      expect(await third.told()).toEqual(['Too hot: INV-1', 'Too hot: INV-1 is back', 'Too hot: INV-2'])
    })

    test('comes to the same whatever the batches and restarts', { timeout: 60_000 }, async () => {
      const ofNotices = ['notifications', 'notification_bursts', 'notification_burst_notices'] as const
      const results = ['alerts', 'alert_states', ...ofNotices] as const
      const url = await databases.freshUrl()
      const shape = fc.array(
        fc.tuple(fc.integer({ min: 70, max: 90 }), fc.constantFrom('', 'batch', 'restart', 'again')),
        {
          minLength: 20,
          maxLength: 60,
        },
      )
      await fc.assert(
        fc.asyncProperty(shape, async (steps) => {
          const database = await databases.open({ url })
          for (const table of [...results, 'alert_rules'] as const) {
            await database.kysely.deleteFrom(table).execute()
          }
          const whole = await startAlerts(databases, { url, database })
          await whole.rules.create({ ...HOT, hysteresis: 3, durationSeconds: 2 })
          const records = steps.map(([tempC], i) => temp(1, i, tempC))
          await whole.send(...records)
          await whole.settled()
          const seen = async (core: StartedAlerts) =>
            (await core.all())
              .map(({ sinceMs, openedAtMs, closedAtMs, valueWorst, valueClosed }) => {
                return { sinceMs, openedAtMs, closedAtMs, valueWorst, valueClosed }
              })
              .toSorted((a, b) => a.sinceMs - b.sinceMs)
          const expected = await seen(whole)
          const told = await whole.told()
          await whole.stop()
          for (const table of results) {
            await database.kysely.deleteFrom(table).execute()
          }
          let part = await startAlerts(databases, { url, database })
          let begun = 0
          let pending: BusRecord[] = []
          for (const [i, [, cut]] of steps.entries()) {
            pending.push(records[i] as BusRecord)
            if (cut === '') continue
            // As when a batch was handled and its offsets were not committed.
            if (cut === 'again') pending.push(...records.slice(begun, i + 1))
            await part.send(...pending)
            await part.settled()
            pending = []
            begun = i + 1
            if (cut !== 'restart') continue
            await part.stop()
            part = await startAlerts(databases, { url, database, bus: part.bus })
          }
          if (pending.length > 0) await part.send(...pending)
          await part.settled()
          expect(await seen(part)).toEqual(expected)
          expect(await part.told()).toEqual(told)
          await part.stop()
        }),
        { numRuns: 2 },
      )
    })
  })

  describe('of backfilled readings', () => {
    test('records what was as past, tells nobody, and disturbs nothing live, in any order', async () => {
      const hour = { waitedMs: 3_600_000 }
      const live = [temp(1, 100, 20), temp(1, 101, 90), temp(1, 102, 91), temp(1, 103, 20)]
      const past = [
        temp(1, 10, 85, hour),
        temp(1, 11, 99, hour),
        temp(1, 12, 86, hour),
        temp(1, 13, 20, hour),
        temp(1, 14, 88, hour),
      ]
      const orders = [
        [...live, ...past],
        [...past, ...live],
        live.flatMap((record, i) => [record, past[i] as BusRecord]).concat(past.slice(4)),
      ]
      const core = await startAlerts(databases)
      for (const order of orders) {
        const rule = await core.rules.create({ ...HOT, escalation: { afterSeconds: 1, userIds: ['boss'] } })
        for (const record of order) await core.send(record)
        await core.settled()
        const found = (await core.alerts.list({ ruleId: rule.id })).items.toSorted((a, b) => a.sinceMs - b.sinceMs)
        expect(found).toMatchObject([
          {
            past: true,
            state: 'CLOSED',
            openedAtMs: T0 + 10_000,
            closedAtMs: T0 + 12_000,
            valueWorst: 99,
            closeReason: 'RECOVERED',
            escalateAtMs: null,
          },
          {
            past: true,
            state: 'CLOSED',
            openedAtMs: T0 + 14_000,
            closedAtMs: T0 + 14_000,
            valueWorst: 88,
            closeReason: null,
          },
          { past: false, state: 'CLOSED', openedAtMs: T0 + 101_000, closedAtMs: T0 + 103_000, valueWorst: 91 },
        ])
        await core.send(temp(1, 15, 87, hour))
        await core.settled()
        expect((await core.alerts.get(found[1]?.id as string))?.closedAtMs).toBe(T0 + 15_000)
        await core.rules.delete(rule.id)
      }
      expect(await core.told()).toEqual(orders.flatMap(() => ['Too hot: INV-1', 'Too hot: INV-1 is back']).toSorted())
    })

    test('and of dead letters that are replayed long after they came', async () => {
      const core = await startAlerts(databases)
      await core.rules.create(HOT)
      const { key, value, headers } = temp(1, 1, 90, { waitedMs: 3_600_000 })
      const { backfill: _, ...ofLive } = headers as Record<string, string>
      await core.send({ key, value, headers: { ...ofLive, replayOf: 'dlt-1' } })
      await core.settled()
      expect(await core.all()).toMatchObject([{ past: true, state: 'CLOSED' }])
      expect(await core.told()).toEqual([])
    })

    test('that waited for a short while only are live', async () => {
      const core = await startAlerts(databases)
      await core.rules.create(HOT)
      await core.send(temp(1, 1, 90, { waitedMs: 30_000 }))
      await core.settled()
      expect(await core.all()).toMatchObject([{ past: false, state: 'OPEN' }])
    })
  })

  describe('of rules that change', () => {
    test('closes their open alerts with one notice, and begins anew', async () => {
      const core = await startAlerts(databases)
      const rule = await core.rules.create(HOT)
      await core.send(temp(1, 1, 90), temp(2, 1, 90))
      await core.settled()
      await core.rules.update(rule.id, { threshold: 85 })
      expect(await core.all()).toMatchObject(
        [1, 2].map(() => ({ state: 'CLOSED', closeReason: 'RULE_CHANGED', valueClosed: null })),
      )
      expect(await core.told()).toContain('Too hot: 2 alerts closed')
      await core.send(temp(1, 2, 86), temp(2, 2, 84))
      await core.settled()
      expect((await core.alerts.list({ state: 'OPEN' })).items).toMatchObject([{ deviceId: 1, rule: { version: 2 } }])
      // What only tells others leaves its alerts alone, and they close by their rule.
      await core.rules.update(rule.id, { name: 'Hot', recipients: { userIds: ['boss'] } })
      await core.send(temp(1, 3, 20))
      await core.settled()
      expect((await core.alerts.list({ state: 'OPEN' })).items).toEqual([])
      expect(await core.told('boss')).toEqual(['Hot: INV-1 is back'])
      await core.send(temp(1, 4, 90))
      await core.settled()
      await core.rules.update(rule.id, { enabled: false })
      await core.send(temp(1, 5, 95))
      await core.settled()
      expect((await core.all()).at(-1)).toMatchObject({ closeReason: 'RULE_DISABLED' })
      await core.rules.update(rule.id, { enabled: true })
      await core.send(temp(1, 6, 95))
      await core.settled()
      await core.rules.delete(rule.id)
      expect((await core.alerts.list()).items[0]).toMatchObject({ closeReason: 'RULE_DELETED' })
      expect(await core.rules.get(rule.id)).toBe(null)
      expect(await core.database.kysely.selectFrom('alert_states').selectAll().execute()).toEqual([])
      expect((await core.all()).length).toBe(5)
    })

    test('on another core counts what was changed before its readings, however late it is seen', async () => {
      const url = await databases.freshUrl()
      const core = await startAlerts(databases, { url, evaluation: { rulesRefreshMs: 600_000 } })
      const other = await startAlertCore({ bus: core.bus, database: await databases.open({ url }) })
      await other.evaluation.stop()
      const rule = await core.rules.create(HOT)
      await core.send(temp(1, 1, 90))
      await core.settled()
      await other.rules.update(rule.id, { threshold: 95 })
      // It still has the old rule in memory, by which this would open one that nobody would ever close.
      await core.send(temp(1, 2, 90), temp(1, 3, 96), temp(1, 4, 91))
      await core.settled()
      expect(
        (await core.all()).map(({ rule: { version }, openedAtMs, closeReason }) => [version, openedAtMs, closeReason]),
      ).toEqual([
        [1, T0 + 1_000, 'RULE_CHANGED'],
        [2, T0 + 3_000, 'RECOVERED'],
      ])
      await other.rules.delete(rule.id)
      await core.send(temp(1, 5, 99))
      await core.settled()
      expect((await core.all()).length).toBe(2)
    })

    test('a device of another type leaves the alerts of rules that are about it no more', async () => {
      const core = await startAlerts(databases)
      await core.rules.create({ ...HOT, deviceType: 'SOLAR_INVERTER' })
      await core.send(temp(1, 1, 90))
      await core.settled()
      await core.registry.devices.update(1, { deviceType: 'BATTERY' })
      await core.alerts.start()
      await until(async () => (await core.all())[0]?.closeReason === 'OUT_OF_SCOPE')
      await core.send(temp(1, 2, 90))
      await core.settled()
      expect((await core.alerts.list({ state: 'OPEN' })).items.length).toBe(1)
    })
  })

  test('of many devices at once are told in part one by one, the others together, each person once', async () => {
    let aheadMs = 0
    const clock = { ...systemClock, wallMs: () => systemClock.wallMs() + aheadMs }
    const notices: Notice[] = []
    const core = await startAlerts(databases, {
      clock,
      notifications: { alertBurstNotices: 20 },
      wrapNotifier: (notifications) => ({
        nudge: () => notifications.nudge(),
        async notify(told, transaction) {
          notices.push(...told)
          await notifications.notify(told, transaction)
        },
      }),
    })
    const ids = Array.from({ length: 100 }, (_, i) => i + 1)
    await core.registry.load(
      'gw-1',
      ids.map((i) => ({ siteId: 1, serialNumber: `INV-${i}` })),
    )
    for (const user of ['ops', 'boss']) await core.notifications.preferences.change(user, {})
    const escalation = { afterSeconds: 1, userIds: ['chief'] }
    await core.rules.create({ ...HOT, recipients: { userIds: ['ops'], subscribers: true }, escalation })
    const allBecome = async (second: number, tempC: number) => {
      await core.send(...ids.map((i) => temp(i, second, tempC)))
      await core.settled()
    }
    const windowEnds = async (told: number) => {
      aheadMs += 31_000
      await until(async () => (await core.told()).length >= told)
    }
    await allBecome(1, 87)
    expect(await core.told()).toHaveLength(20)
    await core.notifications.start()
    await windowEnds(21)
    await core.alerts.start()
    await until(async () => (await core.told('chief')).length === 100)
    await allBecome(2, 20)
    expect(await core.told()).toHaveLength(41)
    await windowEnds(42)
    for (const user of ['ops', 'boss']) {
      const titles = await core.told(user)
      expect(titles.filter((title) => /^Too hot: INV-\d+$/.test(title))).toHaveLength(20)
      expect(titles.filter((title) => /^Too hot: INV-\d+ is back$/.test(title))).toHaveLength(20)
      expect(titles.filter((title) => title === '80 more alerts of rule Too hot')).toHaveLength(2)
      expect(titles).toHaveLength(42)
    }
    const rows = await core.database.kysely
      .selectFrom('notifications')
      .selectAll()
      .where('title', 'like', '80 more%')
      .where('user_id', '=', 'ops')
      .orderBy('created_at_ms')
      .execute()
    const named = [/^80 .*: (INV-\d+ 87 \(above 80\), ){20}and 60 more$/, /^80 .*: (INV-\d+ is back, ){20}and 60 more$/]
    for (const [i, row] of rows.entries()) {
      expect(row).toMatchObject({ type: 'TELEMETRY_ALERT', severity: 'CRITICAL', site_id: 1, related_entity_id: null })
      expect(row.content).toMatch(named[i] as RegExp)
    }
    expect(new Set(notices.map(({ key }) => key)).size).toBe(200)
    await core.database.transaction((transaction) => core.notifications.notify(notices, transaction))
    expect(await core.database.kysely.selectFrom('notification_bursts').selectAll().execute()).toEqual([])
    expect((await core.database.kysely.selectFrom('notifications').select('id').execute()).length).toBe(2 * 42 + 100)
  })

  test('an alert that stays open is escalated once, unless somebody acknowledges it', async () => {
    const url = await databases.freshUrl()
    const cores = [await startAlerts(databases, { url })]
    const [core] = cores as [StartedAlerts]
    cores.push(await startAlerts(databases, { url, bus: core.bus }))
    await core.rules.create({
      ...HOT,
      severity: 'WARNING',
      escalation: { afterSeconds: 1, userIds: ['boss'], severity: 'CRITICAL' },
    })
    await until(() => cores.every(({ evaluation }) => evaluation.stats().rules === 1))
    await core.send(temp(1, 1, 90), temp(2, 1, 90), temp(3, 1, 90), temp(3, 2, 20))
    await until(async () => (await core.all()).length === 3)
    const ofTwo = (await core.alerts.list({ deviceId: 2 })).items[0] as AlertView
    const seen = await core.alerts.acknowledge(ofTwo.id, { userId: 'ops', note: 'on my way' })
    expect(seen).toMatchObject({ acknowledgedBy: 'ops', acknowledgedNote: 'on my way', escalateAtMs: null })
    expect((await core.alerts.acknowledge(ofTwo.id, { userId: 'boss', note: null }))?.acknowledgedBy).toBe('ops')
    await Promise.all(cores.map(({ alerts }) => alerts.start()))
    await until(async () => (await core.told('boss')).length > 0)
    expect(await core.told('boss')).toEqual(['Too hot: INV-1, not acknowledged'])
    expect(
      (await core.all()).map(({ deviceId, escalatedAtMs }) => [deviceId, escalatedAtMs !== null]).toSorted(),
    ).toEqual([
      [1, true],
      [2, false],
      [3, false],
    ])
    const ofThree = (await core.alerts.list({ deviceId: 3 })).items[0] as AlertView
    await expect(core.alerts.acknowledge(ofThree.id, { userId: 'ops', note: null })).rejects.toMatchObject({
      code: 'ALERT_CLOSED',
    })
    expect(await core.alerts.acknowledge('alert-000000000000000000000000', { userId: 'ops', note: null })).toBe(null)
  })

  test('subscribers are told of changes of status, once a change, and not of what is long past', async () => {
    const core = await startAlerts(databases)
    await core.notifications.preferences.change('ops', {})
    const received = (waitedMs: number) => new Date(Date.now() - waitedMs).toISOString()
    const at = (seq: number) => ({ gateway: 'gw-1', seq: String(seq), receivedAt: received(0) })
    const offline = statusRecord(1, 'OFFLINE', at(1))
    await core.send(
      offline,
      offline,
      statusRecord(1, 'ONLINE', at(2)),
      statusRecord(2, 'ERROR', { ...at(3), gateway: '$cloud' }),
    )
    await core.send(statusRecord(3, 'OFFLINE', { ...at(4), receivedAt: received(3_600_000), backfill: 'true' }))
    await core.settled()
    expect(await core.told()).toEqual(['INV-1 is OFFLINE', 'INV-1 is ONLINE', 'INV-2 is ERROR'])
    const rows = await core.database.kysely
      .selectFrom('notifications')
      .select(['severity', 'related_entity_id'])
      .orderBy('title')
      .execute()
    expect(rows.map(({ severity, related_entity_id }) => [severity, related_entity_id])).toEqual([
      ['WARNING', '1'],
      ['INFO', '1'],
      ['CRITICAL', '2'],
    ])
  })
})
