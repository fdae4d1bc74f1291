/** Alert rules and alerts over REST. */

import { describe, expect, test } from 'vitest'
import { AlertRules, Alerts, RuleTrials } from '../../../cloud/alerts/alerts.ts'
import { alertRoutes } from '../../../cloud/api/routes/alerts.ts'
import { Registry } from '../../../cloud/registry/registry.ts'
import { PartitionStore } from '../../../cloud/telemetry/partition-store.ts'
import { SeriesStore } from '../../../cloud/telemetry/series-store.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { startAlertCore } from '../../support/alert-core.ts'
import { startApiCore } from '../../support/api-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { type AnyJson, getJson, sendJson } from '../../support/json-request.ts'
import { notificationCore } from '../../support/notification-core.ts'
import { temp } from '../../support/started-alerts.ts'
import { until } from '../../support/until.ts'

const RULE = { name: 'Too hot', severity: 'WARNING', field: 'tempC', comparison: 'GT', threshold: 80 }

await describeOnEveryDatabase('alerts over REST', (databases) => {
  async function start({ rulesMax = 100 } = {}) {
    const url = await databases.freshUrl()
    const database = await databases.open({ url })
    const tools = { clock: systemClock, random: systemRandom, log: silentLogger }
    const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, ...tools })
    await registry.load('gw-1', [{ siteId: 1, serialNumber: 'INV-1' }])
    const { notifications: notifier } = notificationCore(database)
    const rules = new AlertRules({ database, registry, notifier, rulesMax, ...tools })
    const alerts = new Alerts({ database, notifier, coreId: 'core-1', keptDays: 1, ...tools })
    const series = new SeriesStore(database)
    const trials = new RuleTrials({
      rules,
      registry,
      readings: (...page) => series.readings(...page),
      readingsMax: 3_000,
    })
    const api = await startApiCore({ routes: alertRoutes({ rules, alerts, trials }) }, url)
    const at = (path: string) => `${api.url}/api/v1/${path}`
    return {
      ...api,
      rules,
      at,
      post: (body: unknown, headers = {}) => sendJson(at('alert-rules'), 'POST', body, headers),
    }
  }

  function pointersOf({ status, body }: { status: number; body: AnyJson }): string[] {
    expect(status).toBe(422)
    for (const { remedy } of body.errors) expect(remedy).not.toBe('')
    return body.errors.map(({ pointer }: AnyJson) => pointer).toSorted()
  }

  describe('a rule', () => {
    test('is created once for each idempotency key, shown, changed and deleted', async () => {
      const { at, post, url } = await start()
      const { paths } = (await getJson(`${url}/openapi.json`)).body
      expect(Object.keys(paths['/api/v1/alert-rules/{id}'])).toEqual(['get', 'patch', 'delete'])
      const created = await post(RULE, { 'idempotency-key': 'k1' })
      expect(created.status).toBe(201)
      const { id } = created.body
      expect(created.headers.get('location')).toBe(`/api/v1/alert-rules/${id}`)
      const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT/)
      expect(created.body).toEqual({
        ...RULE,
        ...{ id, enabled: true, siteId: null, deviceType: null, deviceId: null, low: null, high: null },
        ...{ durationSeconds: 0, hysteresis: 0, recipients: { userIds: [], subscribers: true }, escalation: null },
        ...{ version: 1, createdAt: time, updatedAt: time },
      })
      expect((await post(RULE, { 'idempotency-key': 'k1' })).body).toEqual(created.body)
      const one = at(`alert-rules/${id}`)
      expect((await getJson(one)).body).toEqual(created.body)
      const changes = {
        comparison: 'OUTSIDE',
        low: 10,
        high: 20,
        siteId: 1,
        escalation: { afterSeconds: 60, userIds: ['boss'] },
      }
      const changed = await sendJson(one, 'PATCH', changes)
      expect(changed.body).toEqual({
        ...created.body,
        ...{
          ...changes,
          threshold: null,
          version: 2,
          updatedAt: time,
          escalation: { ...changes.escalation, severity: null },
        },
      })
      expect((await sendJson(one, 'PATCH', { siteId: null, escalation: null })).body).toMatchObject({
        siteId: null,
        escalation: null,
      })
      const deleted = await fetch(one, { method: 'DELETE' })
      expect([deleted.status, await deleted.text()]).toEqual([204, ''])
      expect((await getJson(one)).status).toBe(404)
      expect((await fetch(one, { method: 'DELETE' })).status).toBe(404)
      expect((await sendJson(one, 'PATCH', { name: 'x' })).status).toBe(404)
    })

    test('is listed, the newest first, page by page, by what it is about', async () => {
      const { at, post } = await start()
      for (const more of [
        {},
        { siteId: 1 },
        { deviceId: 1 },
        { deviceType: 'METER', enabled: false },
        { severity: 'INFO' },
      ]) {
        expect((await post({ ...RULE, ...more })).status).toBe(201)
      }
      const count = async (query: string) => (await getJson(at(`alert-rules?${query}`))).body.items.length
      expect(
        await Promise.all(
          ['siteId=1', 'deviceId=1', 'deviceType=METER', 'enabled=false', 'severity=INFO', ''].map(count),
        ),
      ).toEqual([1, 1, 1, 1, 1, 5])
      const first = (await getJson(at('alert-rules?limit=3'))).body
      const second = (await getJson(at(`alert-rules?limit=3&cursor=${first.nextCursor}`))).body
      expect(new Set([...first.items, ...second.items].map(({ id }) => id)).size).toBe(5)
      expect(second.nextCursor).toBe(null)
      expect(pointersOf(await getJson(at('alert-rules?cursor=e30')))).toEqual(['/cursor'])
    })

    test('that cannot be is refused, with everything that is wrong', async () => {
      const { at, post } = await start()
      expect(pointersOf(await post({}))).toEqual(['/comparison', '/field', '/name', '/severity'])
      expect(pointersOf(await post({ ...RULE, siteId: 9, hysteresis: 0, low: 3 }))).toEqual(['/low', '/siteId'])
      expect(pointersOf(await post({ ...RULE, deviceId: 99 }))).toEqual(['/deviceId'])
      expect(pointersOf(await post({ ...RULE, hysteresis: -1, durationSeconds: 0.5 }))).toEqual([
        '/durationSeconds',
        '/hysteresis',
      ])
      expect(pointersOf(await post({ ...RULE, comparison: 'INSIDE', threshold: null, low: 5, high: 5 }))).toEqual([
        '/high',
      ])
      expect(pointersOf(await post({ ...RULE, recipients: { subscribers: false } }))).toEqual(['/recipients'])
      expect(pointersOf(await post({ ...RULE, recipients: { userIds: ['a b'] } }))).toEqual(['/recipients/userIds/0'])
      expect(
        pointersOf(await post('{"name":"x","severity":"INFO","field":"f","comparison":"GT","threshold":1e999}')),
      ).toEqual(['/threshold'])
      const { id } = (await post(RULE)).body
      expect(pointersOf(await sendJson(at(`alert-rules/${id}`), 'PATCH', { comparison: 'OUTSIDE' }))).toEqual([
        '/high',
        '/low',
      ])
      expect((await sendJson(at(`alert-rules/${id}`), 'PATCH', {})).status).toBe(422)
    })

    test('beyond the limit is a conflict that says what to do', async () => {
      const { at, post } = await start({ rulesMax: 1 })
      const { id } = (await post(RULE)).body
      expect(await post(RULE)).toMatchObject({
        status: 409,
        body: { code: 'ALERT_RULES_LIMIT', hint: expect.stringContaining('rulesMax') },
      })
      await fetch(at(`alert-rules/${id}`), { method: 'DELETE' })
      expect((await post(RULE)).status).toBe(201)
    })
  })

  test('a rule is tried over stored readings, as it is or as it might be', async () => {
    const { at, post, database } = await start()
    const day = Date.UTC(2026, 0, 1)
    const rows = Array.from({ length: 4_000 }, (_, i) => ({
      ...{ device_id: 1, at_ms: day + i * 1_000, seq: i },
      fields: JSON.stringify(i % 2 === 0 ? { tempC: i % 100 } : { other: 1 }),
    }))
    await new PartitionStore(database).ensure([{ table: 'readings', fromMs: day, toMs: day + 86_400_000 }], day)
    for (let i = 0; i < rows.length; i += 500)
      await database.kysely
        .insertInto('readings')
        .values(rows.slice(i, i + 500))
        .execute()
    const { id } = (await post(RULE)).body
    const test = (body: object) => sendJson(at(`alert-rules/${id}/test`), 'POST', body)
    const stretch = { from: '2026-01-01T00:00:00Z', to: '2026-01-01T00:10:00Z', deviceId: 1 }
    const { body } = await test(stretch)
    expect(body).toMatchObject({
      deviceId: 1,
      readings: 300,
      judgedUntil: '2026-01-01T00:10:00.000Z',
      complete: true,
      found: 6,
    })
    expect(body.alerts[0]).toEqual({
      ...{
        since: '2026-01-01T00:01:22.000Z',
        openedAt: '2026-01-01T00:01:22.000Z',
        closedAt: '2026-01-01T00:01:40.000Z',
      },
      ...{ valueOpened: 82, valueWorst: 98, valueClosed: 0 },
    })
    expect(body.alerts.at(-1)).toMatchObject({ closedAt: null, valueWorst: 98 })
    expect((await test({ ...stretch, changes: { threshold: 90, durationSeconds: 10 } })).body.found).toBe(0)
    expect((await test({ ...stretch, changes: { threshold: 90, durationSeconds: 6 } })).body.found).toBe(6)
    expect((await test({ ...stretch, to: '2026-01-02T00:00:00Z' })).body).toMatchObject({
      ...{ complete: false, readings: 1_500, found: 30, judgedUntil: '2026-01-01T00:49:59.000Z' },
    })
    expect((await getJson(at('alerts'))).body.items).toEqual([])
    expect(pointersOf(await test({ ...stretch, deviceId: undefined }))).toEqual(['/deviceId'])
    expect(
      pointersOf(await test({ ...stretch, to: stretch.from, changes: { hysteresis: 1, comparison: 'NE' } })),
    ).toEqual(['/changes/hysteresis', '/to'])
  })

  test('alerts are listed, shown and acknowledged', async () => {
    const { at, post, bus, database } = await start()
    const { id: ruleId } = (await post({ ...RULE, siteId: 1 })).body
    const core = await startAlertCore({ bus, database })
    await bus.publish('device-telemetry', [
      temp(1, 1, 90),
      temp(1, 2, 70),
      temp(1, 3, 95),
      temp(1, 4, 99, { waitedMs: 1e7 }),
    ])
    await until(() => core.evaluation.stats().consumer.handled === 4)
    await core.stop()
    const list = async (query: string) => (await getJson(at(`alerts?${query}`))).body.items
    const all = await list('')
    expect(all.length).toBe(3)
    const times = all.map(({ updatedAt }: AnyJson) => updatedAt)
    expect(times).toEqual(times.toSorted().toReversed())
    const [open] = await list('state=OPEN')
    expect(open).toMatchObject({
      ...{
        ruleId,
        ruleName: 'Too hot',
        siteId: 1,
        deviceId: 1,
        serialNumber: 'INV-1',
        past: false,
        since: '2026-01-01T00:00:03.000Z',
      },
      ...{ closedAt: null, valueOpened: 95, rule: { id: ruleId, threshold: 80, siteId: 1 } },
    })
    expect((await getJson(at(`alerts/${open.id}`))).body).toEqual(open)
    const counts = [
      'state=CLOSED',
      'past=true',
      'past=false',
      'severity=INFO',
      'siteId=1',
      'siteId=2',
      `ruleId=${ruleId}`,
      'deviceId=1',
    ]
    expect(await Promise.all(counts.map(async (query) => (await list(query)).length))).toEqual([2, 1, 2, 0, 3, 0, 3, 3])
    expect((await list('from=2026-01-01T00:00:02Z&to=2026-01-01T00:00:04Z')).length).toBe(1)
    expect((await list('serialNumber=INV-1&limit=2')).length).toBe(2)

    const acknowledge = (id: string, body: unknown) => sendJson(at(`alerts/${id}/acknowledge`), 'POST', body)
    const seen = await acknowledge(open.id, { userId: 'ops', note: 'on my way \ud800' })
    expect(seen).toMatchObject({
      status: 200,
      body: { acknowledgedBy: 'ops', acknowledgedNote: 'on my way \ufffd', state: 'OPEN' },
    })
    expect((await acknowledge(open.id, { userId: 'boss' })).body).toEqual(seen.body)
    const [closed] = await list('state=CLOSED&past=false')
    expect(await acknowledge(closed.id, { userId: 'ops' })).toMatchObject({
      status: 409,
      body: { code: 'ALERT_CLOSED' },
    })
    expect((await acknowledge('alert-000000000000000000000000', { userId: 'ops' })).status).toBe(404)
    expect(pointersOf(await acknowledge(open.id, { note: 'x' }))).toEqual(['/userId'])
  })
})
