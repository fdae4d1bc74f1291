import fc from 'fast-check'
import { sql } from 'kysely'
import { describe, expect, test } from 'vitest'
import { AlertRules, Alerts } from '../../../cloud/alerts/alerts.ts'
import { type DatabaseHandle, openDatabase } from '../../../cloud/database/database.ts'
import { siteCondition } from '../../../cloud/registry/site-condition.ts'
import { narrowed, type SiteScope } from '../../../cloud/registry/site-scope.ts'
import { TelemetryQueries } from '../../../cloud/telemetry/telemetry-queries.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { analyticsSettings } from '../../support/analytics-core.ts'
import { commandCore } from '../../support/command-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'

const SITES = [1, 2, 3, 4]
const T0 = Date.UTC(2026, 0, 1)
const stretch = { fromMs: T0, toMs: T0 + 60_000 }
const scope = fc.oneof(
  fc.constant('all' as const),
  fc.subarray(SITES).map((sites) => new Set(sites)),
)
const has = (sites: SiteScope, siteId: number) => sites === 'all' || sites.has(siteId)

/** At each site two devices with a reading each, behind a gateway of its own and one for all; a command, an alert and rules. */
async function start(database: DatabaseHandle) {
  const tools = { clock: systemClock, random: systemRandom, log: silentLogger }
  if (database.dialect === 'postgres') {
    await sql`create table readings_all partition of readings default`.execute(database.kysely)
  }
  const { registry, commands } = commandCore(database)
  const notifier = { notify: async () => undefined, nudge: () => undefined }
  const rules = new AlertRules({ database, registry, notifier, rulesMax: 1_000, ...tools })
  const alerts = new Alerts({ database, notifier, coreId: 'core', keptDays: 730, ...tools })
  const analytics = { stats: () => ({ failing: null, behindMs: 0 }) }
  const settings = { ...analyticsSettings, seriesPointsMax: 5_000, seriesMax: 100 }
  const telemetry = new TelemetryQueries({ database, registry, settings, analytics, ...tools })
  const condition = { severity: 'INFO', field: 'x', comparison: 'GT', threshold: 1 } as const
  const deviceIds = new Map<number, number>()
  for (const id of ['gw-all', ...SITES.map((siteId) => `gw-${siteId}`)]) await registry.gateways.create({ id })
  for (const siteId of SITES) {
    for (const gateway of [`gw-${siteId}`, 'gw-all']) {
      const [device] = await registry.load(gateway, [{ siteId, serialNumber: `S-${siteId}-${gateway}` }])
      const deviceId = device?.deviceId as number
      deviceIds.set(deviceId, siteId)
      await database.kysely
        .insertInto('readings')
        .values({ device_id: deviceId, at_ms: T0 + siteId, seq: 1, fields: '{"x":1}' })
        .execute()
      if (gateway === 'gw-all') await rules.create({ name: `device of ${siteId}`, deviceId, ...condition })
      else await commands.create({ deviceId: `S-${siteId}-${gateway}`, name: 'x' })
    }
    const rule = await rules.create({ name: `site ${siteId}`, siteId, ...condition })
    const row = {
      ...{
        id: `alert-${String(siteId).repeat(24)}`,
        rule_id: rule.id,
        rule_name: 'r',
        severity: 'INFO',
        site_id: siteId,
      },
      ...{ device_id: 1, serial_number: 'S', state: 'OPEN', past: 0, since_ms: T0, opened_at_ms: T0, value_opened: 2 },
      ...{ value_worst: 2, created_at_ms: T0, updated_at_ms: T0, rule: JSON.stringify(rule) },
    }
    await database.kysely.insertInto('alerts').values(row).execute()
  }
  await rules.create({ name: 'everywhere', deviceType: 'METER', ...condition })
  return { registry, commands, rules, alerts, telemetry, deviceIds }
}

await describeOnEveryDatabase('what is limited to sites', (databases) => {
  test('has what is at those sites, all of it and nothing else, by whatever it is asked for besides', async () => {
    const database = await databases.open()
    const { registry, commands, rules, alerts, telemetry, deviceIds } = await start(database)
    const asked = fc.record({ sites: scope, siteId: fc.option(fc.constantFrom(...SITES), { nil: undefined }) })
    await fc.assert(
      fc.asyncProperty(asked, fc.subarray([...deviceIds.keys()], { minLength: 1 }), async (asked, chosen) => {
        const { sites, siteId } = asked
        const shown = SITES.filter((id) => has(sites, id) && (siteId === undefined || id === siteId))
        const [devices, found, opened, ruled] = await Promise.all([
          registry.devices.list({ ...asked, limit: 100 }),
          commands.list(asked),
          alerts.list(asked),
          rules.list({ sites }),
        ])
        expect(devices.items.map((device) => device.siteId).sort()).toEqual(shown.flatMap((id) => [id, id]))
        expect(found.items.map((command) => command.siteId).toSorted()).toEqual(shown)
        expect(opened.items.map((alert) => alert.siteId).toSorted()).toEqual(shown)
        const seen = SITES.filter((id) => has(sites, id))
        const names = ['everywhere', ...seen.map((id) => `site ${id}`), ...seen.map((id) => `device of ${id}`)]
        expect(ruled.items.map(({ name }) => name).toSorted()).toEqual(names.toSorted())
        const gateways = (await registry.gateways.list(asked)).items.map(({ id }) => id)
        expect(gateways).toEqual(
          [...shown.map((id) => `gw-${id}`), ...(shown.length > 0 || sites === 'all' ? ['gw-all'] : [])].toSorted(),
        )
        expect((await registry.sites.list({ sites })).items.map(({ id }) => id)).toEqual(seen)

        const beyond = chosen.filter((id) => !has(sites, deviceIds.get(id) as number))
        const question = { ...stretch, fields: ['x'], deviceIds: chosen, sites }
        const series = async () => (await telemetry.series(question)).series.map(({ device }) => device.deviceId)
        const file = async () => {
          const signal = new AbortController().signal
          const stream = await telemetry.export({ ...question, format: 'ndjson', resolution: 'raw' }, signal)
          const lines = (await new Response(stream).text()).trim().split('\n')
          return lines.map((line) => (JSON.parse(line) as { deviceId: number }).deviceId)
        }
        if (beyond.length === 0) {
          expect(await series()).toEqual(chosen)
          expect(await file()).toEqual(chosen)
          return
        }
        const named =
          beyond.length === 1 ? `there is no device ${beyond[0]}` : `there are no devices ${beyond.join(', ')}`
        await expect(series()).rejects.toThrow(named)
        await expect(file()).rejects.toThrow(named)
      }),
      { numRuns: 25 },
    )
  })

  test('shows gateways from the sites that they were given, and only else from those of their devices', async () => {
    const database = await databases.open()
    const { registry } = await start(database)
    const listed = async (site: number) =>
      (await registry.gateways.list({ sites: new Set([site]) })).items.map(({ id }) => id)
    expect(await registry.gateways.sitesOf('gw-all')).toEqual(SITES)
    expect(await listed(1)).toEqual(['gw-1', 'gw-all'])
    await database.kysely.insertInto('gateway_sites').values({ gateway_id: 'gw-all', site_id: 2 }).execute()
    expect(await registry.gateways.sitesOf('gw-all')).toEqual([2])
    expect([await listed(1), await listed(2)]).toEqual([['gw-1'], ['gw-2', 'gw-all']])
    expect(await registry.gateways.sitesOf('gw-none')).toBeNull()
  })
})

describe('a listing of one site', () => {
  test('is read in the order of an index that begins with the site', async () => {
    for (const table of ['alerts', 'commands'] as const) {
      const plan = await planOf(table, new Set([1]))
      expect(plan).toMatch(new RegExp(`SEARCH ${table} USING INDEX ${table}_site_id \\(site_id=\\?\\)`))
      expect(plan).not.toContain('TEMP B-TREE')
      expect(await planOf(table, new Set([1, 2]))).toContain(`USING INDEX ${table}_`)
    }
  })

  test('asks for nothing of who sees all, and for one site where one is named', () => {
    expect(siteCondition('sqlite', 'site_id', 'all')).toBeNull()
    expect(narrowed(new Set([1, 2]), 2)).toEqual(new Set([2]))
    expect(narrowed(new Set([1, 2]), 3)).toEqual(new Set())
    expect(narrowed('all', undefined)).toBe('all')
  })

  async function planOf(table: 'alerts' | 'commands', sites: SiteScope): Promise<string> {
    const database = openDatabase({ url: 'sqlite::memory:', clock: systemClock, log: silentLogger })
    await database.start()
    const { rows } = await sql<{ detail: string }>`explain query plan select * from ${sql.table(table)}
      where ${siteCondition('sqlite', 'site_id', sites)} order by created_at_ms desc, id desc limit 51`.execute(
      database.kysely,
    )
    await database.stop()
    return rows.map(({ detail }) => detail).join('\n')
  }
})
