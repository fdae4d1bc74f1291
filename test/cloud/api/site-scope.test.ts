import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AnyJson, getJson, sendJson } from '../../support/json-request.ts'
import { T0, TWIN } from '../../support/two-sites.ts'
import { startWalkCore, type WalkCore } from '../../support/walk-core.ts'

let core: WalkCore
beforeAll(async () => {
  core = await startWalkCore(['viewer.1'])
})
afterAll(() => core?.stop())

const auth = (credential: string) => ({ authorization: `Bearer ${credential}` })
const get = (credential: string, path: string) => getJson(`${core.url}/api/v1/${path}`, auth(credential))
const send = (credential: string, method: string, path: string, body: unknown, headers: Record<string, string> = {}) =>
  sendJson(`${core.url}/api/v1/${path}`, method, body, { ...auth(credential), ...headers })
const post = (credential: string, path: string, body: unknown, headers: Record<string, string> = {}) =>
  send(credential, 'POST', path, body, headers)

const from = new Date(T0).toISOString()
const to = new Date(T0 + 60_000).toISOString()

/** The answer with what was asked for taken out of it. */
function words({ status, body }: { status: number; body: AnyJson }, ...asked: readonly (string | number)[]): string {
  const said = asked.reduce<string>(
    (text, each) => text.replaceAll(new RegExp(`(?<!\\w)${RegExp.escape(String(each))}(?!\\w)`, 'g'), '…'),
    JSON.stringify({ ...body, status: undefined, instance: undefined }),
  )
  return `${status} ${said}`
}

describe('a listing', () => {
  test('filtered by what is elsewhere is as empty as one by what does not exist', async () => {
    const [, south] = core.places
    const filters = [
      ['devices', 'siteId', 2],
      ['devices', 'gatewayId', south.gatewayId],
      ['devices', 'serialNumber', south.serialNumber],
      ['gateways', 'siteId', 2],
      ['commands', 'site_id', 2],
      ['commands', 'device_id', south.serialNumber],
      ['alerts', 'siteId', 2],
      ['alerts', 'deviceId', south.deviceId],
      ['alerts', 'serialNumber', south.serialNumber],
      ['alerts', 'ruleId', south.ruleId],
      ['alert-rules', 'siteId', 2],
    ] as const
    for (const [list, name, value] of filters) {
      const { body } = await get('admin.1', `${list}?${name}=${value}`)
      expect(body, `${list} ${name}`).toEqual({ items: [], nextCursor: null })
      expect((await get('admin.all', `${list}?${name}=${value}`)).body.items).not.toEqual([])
    }
  })

  test('goes on where it was, page by page, and a cursor of somebody else shows nothing of theirs', async () => {
    for (const list of ['devices', 'commands', 'tasks', 'alerts', 'alert-rules', 'gateways', 'sites']) {
      const all = (await get('viewer.1', `${list}?limit=100`)).body.items
      const paged: unknown[] = []
      let cursor: string | null = ''
      while (cursor !== null) {
        const page: AnyJson = (await get('viewer.1', `${list}?limit=1${cursor && `&cursor=${cursor}`}`)).body
        paged.push(...page.items)
        cursor = page.nextCursor
      }
      expect(paged, list).toEqual(all)
      // Every place that a walk over everything stops at.
      let foreign: string | null = (await get('admin.all', `${list}?limit=1`)).body.nextCursor
      for (let i = 0; foreign !== null && i < 5; i++) {
        const page = (await get('viewer.1', `${list}?limit=100&cursor=${foreign}`)).body
        for (const item of page.items) expect(all, list).toContainEqual(item)
        foreign = (await get('admin.all', `${list}?limit=1&cursor=${foreign}`)).body.nextCursor
      }
    }
  })

  test('of gateways has those of several sites for whoever sees one of them', async () => {
    const ids = async (credential: string) =>
      (await get(credential, 'gateways')).body.items.map(({ id }: AnyJson) => id)
    expect(await ids('viewer.1')).toEqual(['gw-both', 'gw-north'])
    expect(await ids('viewer.2')).toEqual(['gw-both', 'gw-south'])
    expect(await ids('viewer.3')).toEqual([])
    expect((await get('viewer.2', 'gateways/gw-both')).status).toBe(200)
  })
})

describe('telemetry', () => {
  test('of several devices is refused when one is elsewhere, like one that does not exist', async () => {
    const [north, south] = core.places
    const series = (ids: readonly number[]) =>
      get('viewer.1', `telemetry/series?deviceId=${ids.join(',')}&field=powerKw&from=${from}&to=${to}`)
    expect((await series([north.deviceId])).status).toBe(200)
    const hidden = await series([north.deviceId, south.deviceId])
    expect(hidden.status).toBe(404)
    expect(hidden.body.detail).toBe(`there is no device ${south.deviceId}`)
    expect(words(hidden, south.deviceId)).toBe(words(await series([north.deviceId, 7_777]), 7_777))
    const both = await series([south.deviceId, 7_777])
    expect(both.body.detail).toBe(`there are no devices ${south.deviceId}, 7777`)
  })

  test('of a site elsewhere is refused like that of a site that does not exist', async () => {
    const questions = [
      (site: number) => `telemetry/series?siteId=${site}&field=powerKw&from=${from}&to=${to}`,
      (site: number) => `telemetry/export?siteId=${site}&format=ndjson&from=${from}&to=${to}`,
    ]
    for (const question of questions) {
      const hidden = await get('viewer.1', question(2))
      expect(hidden.status).toBe(404)
      expect(words(hidden, 'site 2')).toBe(words(await get('viewer.1', question(77)), 'site 77'))
    }
    const { deviceId } = core.places[1]
    const named = await get('viewer.1', `telemetry/export?deviceId=${deviceId}&format=csv&from=${from}&to=${to}`)
    expect(named.status).toBe(404)
  })
})

describe('a command', () => {
  const reboot = (device_id: string, more: object = {}) => ({ device_id, name: 'REBOOT', ...more })

  test('for a device elsewhere is refused like one for a device that does not exist', async () => {
    const [, { serialNumber }] = core.places
    for (const more of [{}, { site_id: 2 }]) {
      const hidden = await post('operator.1', 'commands', reboot(serialNumber, more))
      expect(hidden.status).toBe(422)
      expect(words(hidden, serialNumber)).toBe(
        words(await post('operator.1', 'commands', reboot('INV-nowhere', more)), 'INV-nowhere'),
      )
      // Also where the schema finds something wrong besides.
      const worse = { ...more, timeout_ms: 'long' }
      expect(words(await post('operator.1', 'commands', reboot(serialNumber, worse)), serialNumber)).toBe(
        words(await post('operator.1', 'commands', reboot('INV-nowhere', worse)), 'INV-nowhere'),
      )
    }
    expect((await get('viewer.2', `commands?device_id=${serialNumber}`)).body.items).toHaveLength(1)
  })

  test('of a serial number at two sites means the one that may be seen, and names the other to nobody', async () => {
    const { status, body } = await post('operator.1', 'commands', reboot(TWIN))
    expect(status).toBe(201)
    expect(body.site_id).toBe(1)
    const asked = await post('operator.1+operator.2', 'commands', reboot(TWIN))
    expect(asked.status).toBe(422)
    expect(asked.body.errors[0]).toMatchObject({ pointer: '/site_id', remedy: expect.stringContaining('1, 2') })
    expect(await post('operator.1+viewer.2', 'commands', reboot(TWIN, { site_id: 2 }))).toMatchObject({
      status: 403,
      body: { code: 'ROLE_MISSING', detail: 'This needs the role operator at site 2.' },
    })
  })

  test('for who knows where may only be given by operators of every site, since its readers know no sites', async () => {
    expect((await post('operator.1', 'commands', reboot('INV-unknown', { site_id: 1 }))).status).toBe(422)
    const made = await post('operator.all', 'commands', reboot('INV-unknown'))
    expect(made.status).toBe(201)
    expect((await get('admin.1', `commands/${made.body.id}`)).status).toBe(404)
    expect((await get('viewer.all', `commands/${made.body.id}`)).status).toBe(200)
  })

  test('is no other caller’s to be told again by its idempotency key', async () => {
    const [north] = core.places
    const key = { 'idempotency-key': 'one-and-the-same' }
    const first = await post('operator.1', 'commands', reboot(north.serialNumber), key)
    const again = await post('operator.1', 'commands', reboot(north.serialNumber), key)
    expect(again.body.id).toBe(first.body.id)
    const other = await post('operator.2', 'commands', reboot(north.serialNumber), key)
    expect(other.status).toBe(422)
    const third = await post('operator.all', 'commands', reboot(north.serialNumber), key)
    expect(third.body.id).not.toBe(first.body.id)
  })
})

describe('what is made or changed', () => {
  const RULE = { name: 'Hot', severity: 'INFO', field: 'tempC', comparison: 'GT', threshold: 80 }
  const making = (credential: string, more: object) => post(credential, 'alert-rules', { ...RULE, ...more })

  test('is judged by each site that it names', async () => {
    const [north, south] = core.places
    expect((await making('engineer.1', { siteId: 1 })).status).toBe(201)
    expect((await making('engineer.1', { deviceId: north.deviceId })).status).toBe(201)
    expect((await making('engineer.1+viewer.2', { siteId: 2 })).status).toBe(403)
    expect((await making('engineer.1+viewer.2', { deviceId: south.deviceId })).status).toBe(403)
    const hidden = await making('engineer.1', { siteId: 2, threshold: null })
    expect(words(hidden, 2)).toBe(words(await making('engineer.1', { siteId: 77, threshold: null }), 77))
    const device = await making('engineer.1', { deviceId: south.deviceId })
    expect(device.status).toBe(422)
    expect(words(device, south.deviceId)).toBe(words(await making('engineer.1', { deviceId: 7_777 }), 7_777))
    for (const everywhere of [{}, { deviceType: 'METER' }]) {
      expect(await making('engineer.1+engineer.2', everywhere)).toMatchObject({
        status: 403,
        body: { detail: 'This needs the role engineer over every site.' },
      })
    }
  })

  test('moves nowhere that its maker may not change', async () => {
    const [north, south] = core.places
    const rule = `alert-rules/${north.ruleId}`
    const move = (credential: string, to: object) => send(credential, 'PATCH', rule, to)
    expect((await move('engineer.1', { siteId: null })).status).toBe(403)
    expect((await move('engineer.1+viewer.2', { siteId: 2 })).status).toBe(403)
    expect((await move('engineer.1', { siteId: 2 })).status).toBe(422)
    expect((await move('engineer.1', { siteId: null, deviceId: south.deviceId })).status).toBe(422)
    expect((await move('engineer.2', { siteId: 2 })).status).toBe(404)
    expect((await get('viewer.1', rule)).body).toMatchObject({ siteId: 1, version: 1 })
  })

  test('of no site is seen by everybody and changed by who may everywhere; it is tried on devices of one’s own', async () => {
    const [north, south] = core.places
    const { body: rule } = await making('engineer.all', { deviceType: 'METER' })
    const one = `alert-rules/${rule.id}`
    expect((await get('viewer.2', one)).status).toBe(200)
    expect((await get('nobody', one)).status).toBe(403)
    expect((await get('viewer.1', 'alert-rules')).body.items.map(({ id }: AnyJson) => id)).toContain(rule.id)
    expect((await send('engineer.1', 'PATCH', one, { name: 'Cold' })).status).toBe(403)
    const trial = (deviceId: number) => post('engineer.1', `${one}/test`, { deviceId, from, to })
    expect((await trial(north.deviceId)).status).toBe(200)
    expect(words(await trial(south.deviceId), south.deviceId)).toBe(words(await trial(7_777), 7_777))
    expect((await trial(south.deviceId)).status).toBe(422)
  })

  test('at a site elsewhere is refused like at a site that does not exist', async () => {
    const at = (siteId: number) => post('engineer.1', 'devices', { siteId, serialNumber: 'INV-900' })
    expect(words(await at(2), 2)).toBe(words(await at(77), 77))
    expect((await at(2)).status).toBe(422)
    const twin = { siteId: 2, serialNumber: TWIN }
    expect((await post('engineer.1', 'devices', twin)).status).toBe(422)
    expect((await post('engineer.1+viewer.2', 'devices', twin)).status).toBe(403)
  })
})

test('preferences choose among the sites that their user may see', async () => {
  const own = 'users/viewer.1/notification-preferences'
  expect((await send('viewer.1', 'PATCH', own, { sites: [1] })).body.sites).toEqual([1])
  for (const sites of [[2], [1, 77]]) {
    const { status, body } = await send('viewer.1', 'PATCH', own, { sites })
    expect([status, body.errors[0].pointer]).toEqual([422, `/sites/${sites.length - 1}`])
  }
  expect((await send('viewer.1', 'PATCH', own, { sites: null })).body.sites).toBeNull()
})

test('an alert is acknowledged in one’s own name', async () => {
  const path = `alerts/${core.places[0].alertId}/acknowledge`
  const other = await post('operator.1', path, { userId: 'boss' })
  expect(other).toMatchObject({ status: 422, body: { errors: [{ pointer: '/userId' }] } })
  expect((await post('viewer.1+operator.2', path, { userId: 'boss' })).status).toBe(403)
  expect((await post('operator.1', path, {})).body.acknowledgedBy).toBe('operator.1')
})
