import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { startApiCore } from '../../support/api-core.ts'
import { type AnyJson, getJson, type JsonAnswer, sendJson } from '../../support/json-request.ts'
import { until } from '../../support/until.ts'

const JSON_TYPE = { 'content-type': 'application/json' }

describe('resources', () => {
  test('a site is registered, shown, changed and listed', async () => {
    const { url } = await startApiCore()
    const created = await sendJson(`${url}/api/v1/sites`, 'POST', { id: 7, name: 'North' })
    expect(created.status).toBe(201)
    expect(created.headers.get('location')).toBe('/api/v1/sites/7')
    expect(created.body).toMatchObject({ id: 7, name: 'North' })
    expect(created.body.createdAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect((await sendJson(`${url}/api/v1/sites/7`, 'PATCH', { name: 'North-East' })).body.name).toBe('North-East')
    expect((await getJson(`${url}/api/v1/sites/7`)).body.name).toBe('North-East')
    expect((await getJson(`${url}/api/v1/sites`)).body).toEqual({
      items: [expect.objectContaining({ id: 7 })],
      nextCursor: null,
    })
  })

  test('a gateway is registered before it connects, and shows its connection, backlog and gaps later', async () => {
    const { url, registry } = await startApiCore()
    const created = await sendJson(`${url}/api/v1/gateways`, 'POST', { id: 'gw-1', name: 'North gateway' })
    expect(created.status).toBe(201)
    expect(created.body).toMatchObject({ id: 'gw-1', connected: false, backlog: null, lastSeenAt: null })
    const hello = {
      gatewayId: 'gw-1',
      sessionId: 's1',
      epoch: '00ff',
      bootId: 'b',
      softwareVersion: '1.2.3',
      clockOffsetMs: -5,
    }
    await registry.gatewayConnected(hello)
    await registry.recordGap({
      gatewayId: 'gw-1',
      epoch: '00ff',
      lane: 'telemetry',
      firstSequence: 2 ** 40,
      recordCount: 12,
      reason: 'bytes',
      atMs: Date.UTC(2026, 0, 2),
      fromMs: Date.UTC(2026, 0, 1),
      toMs: null,
    })
    expect((await getJson(`${url}/api/v1/gateways/gw-1`)).body).toMatchObject({
      connected: true,
      softwareVersion: '1.2.3',
    })
    expect((await getJson(`${url}/api/v1/gateways?connected=true`)).body.items).toHaveLength(1)
    expect((await getJson(`${url}/api/v1/gateways?connected=false`)).body.items).toHaveLength(0)
    expect((await getJson(`${url}/api/v1/gateways/gw-1/gaps`)).body.items).toEqual([
      {
        epoch: '00ff',
        lane: 'telemetry',
        firstSequence: 2 ** 40,
        recordCount: 12,
        reason: 'bytes',
        at: '2026-01-02T00:00:00.000Z',
        from: '2026-01-01T00:00:00.000Z',
        to: null,
      },
    ])
  })

  test('a device is registered, shown, changed and found by each filter', async () => {
    const { url, registry } = await startApiCore()
    await registry.load('gw-1', [
      { siteId: 1, serialNumber: 'INV-001' },
      { siteId: 2, serialNumber: 'INV-001' },
    ])
    const created = await sendJson(`${url}/api/v1/devices`, 'POST', { siteId: 1, serialNumber: 'MTR-9', name: null })
    expect(created.status).toBe(201)
    const { id } = created.body
    expect(created.body).toMatchObject({ deviceType: 'METER', status: null, gatewayId: null })
    const changed = await sendJson(`${url}/api/v1/devices/${id}`, 'PATCH', { deviceType: 'EV_CHARGER', name: 'Gate 4' })
    expect(changed.body).toMatchObject({ deviceType: 'EV_CHARGER', name: 'Gate 4' })
    await registry.setStatuses([{ deviceId: id, status: 'ONLINE', atMs: Date.UTC(2026, 0, 1) }])
    expect((await getJson(`${url}/api/v1/devices/${id}`)).body).toMatchObject({
      status: 'ONLINE',
      statusAt: '2026-01-01T00:00:00.000Z',
    })
    const silence = async (silentAfterSeconds: number | null) =>
      (await sendJson(`${url}/api/v1/devices/${id}`, 'PATCH', { silentAfterSeconds })).body.silentAfterSeconds
    expect(created.body).toMatchObject({ silentAfterSeconds: null, silentSince: null })
    expect(await silence(90)).toBe(90)
    expect(await silence(0)).toBe(0)
    expect(await silence(null)).toBeNull()
    expect(await silence(-1)).toBeUndefined()
    const patient = { siteId: 1, serialNumber: 'MTR-10', silentAfterSeconds: 3600 }
    expect((await sendJson(`${url}/api/v1/devices`, 'POST', patient)).body).toMatchObject({ silentAfterSeconds: 3600 })
    const found = async (query: string) =>
      (await getJson(`${url}/api/v1/devices?${query}`)).body.items.map((item: AnyJson) => item.id)
    expect(await found('siteId=1')).toEqual([1, id, id + 1])
    expect(await found('deviceType=EV_CHARGER')).toEqual([id])
    expect(await found('status=ONLINE')).toEqual([id])
    expect(await found('serialNumber=INV-001')).toEqual([1, 2])
    expect(await found('gatewayId=gw-1&siteId=2')).toEqual([2])
  })

  test('a walk through the pages meets every device once, although devices come meanwhile', async () => {
    const { url, registry } = await startApiCore()
    const keys = Array.from({ length: 23 }, (_, i) => ({ siteId: 1, serialNumber: `INV-${i}` }))
    await registry.load('gw-1', keys)
    const seen: number[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const page: AnyJson = (await getJson(`${url}/api/v1/devices?limit=5${cursor === '' ? '' : `&cursor=${cursor}`}`))
        .body
      expect(page.items.length).toBeLessThanOrEqual(5)
      seen.push(...page.items.map((item: AnyJson) => item.id))
      cursor = page.nextCursor
      if (seen.length === 10) await registry.load('gw-1', [{ siteId: 1, serialNumber: 'LATE' }])
    }
    expect(seen).toEqual(Array.from({ length: 24 }, (_, i) => i + 1))
  })

  test('the latest values of a device and of its site, each with the time it was taken', async () => {
    const { url, registry, bus } = await startApiCore()
    await registry.load('gw-1', [{ siteId: 1, serialNumber: 'INV-001' }])
    const publish = (telemetryData: object, timestamp: string) => {
      const subject = { deviceId: 1, serialNumber: 'INV-001', siteId: 1, deviceType: 'SOLAR_INVERTER' }
      const value = JSON.stringify({ ...subject, telemetryData, timestamp, eventType: 'DEVICE_TELEMETRY' })
      const headers = { gateway: 'gw-1', seq: '1', receivedAt: timestamp }
      return bus.publish('device-telemetry', [{ key: 'INV-001', value, headers }])
    }
    await publish({ powerKw: 45.2, mode: 'auto' }, '2026-01-01T10:00:00.000Z')
    await publish({ powerKw: 46 }, '2026-01-01T10:00:05.000Z')
    const latest = await until(async () => {
      const { body } = await getJson(`${url}/api/v1/devices/1/latest`)
      return body.values.powerKw?.value === 46 && body
    })
    expect(latest).toEqual({
      deviceId: 1,
      siteId: 1,
      serialNumber: 'INV-001',
      eventAt: '2026-01-01T10:00:05.000Z',
      receivedAt: '2026-01-01T10:00:05.000Z',
      values: {
        powerKw: { value: 46, at: '2026-01-01T10:00:05.000Z' },
        mode: { value: 'auto', at: '2026-01-01T10:00:00.000Z' },
      },
    })
    expect((await getJson(`${url}/api/v1/sites/1/latest`)).body).toEqual({ items: [latest] })
  })

  test('the latest values of a device without any are empty; of one that is not there, a problem', async () => {
    const { url, registry } = await startApiCore()
    await registry.load('gw-1', [{ siteId: 1, serialNumber: 'INV-001' }])
    expect((await getJson(`${url}/api/v1/devices/1/latest`)).body).toMatchObject({
      deviceId: 1,
      eventAt: null,
      values: {},
    })
    expect((await getJson(`${url}/api/v1/sites/1/latest`)).body).toEqual({ items: [] })
    expect((await getJson(`${url}/api/v1/devices/99/latest`)).status).toBe(404)
    expect((await getJson(`${url}/api/v1/sites/99/latest`)).status).toBe(404)
  })
})

describe('refusals are problem documents', () => {
  const expectProblem = (answer: JsonAnswer, status: number, code: string) => {
    expect(answer.body).toMatchObject({ status, code })
    expect(answer.status).toBe(status)
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect(answer.body.type).toMatch(/^urn:busbar:problem:/)
  }

  test('what is not there, and methods that are not there', async () => {
    const { url } = await startApiCore()
    expectProblem(await getJson(`${url}/api/v1/nothing`), 404, 'NOT_FOUND')
    expectProblem(await getJson(`${url}/api/v1/sites/5`), 404, 'NOT_FOUND')
    const answer = await sendJson(`${url}/api/v1/sites/5`, 'DELETE', {})
    expectProblem(answer, 405, 'METHOD_NOT_ALLOWED')
    expect(answer.headers.get('allow')).toBe('GET, HEAD, PATCH')
    expectProblem(await sendJson(`${url}/api/v1/sites/5`, 'PATCH', { name: 'x' }), 404, 'SITE_NOT_FOUND')
  })

  test('every wrong value is named with its remedy', async () => {
    const { url } = await startApiCore()
    const answer = await sendJson(`${url}/api/v1/devices`, 'POST', {
      siteId: '1',
      serialNumber: 'a/b',
      colour: 'red',
      name: ' x',
    })
    expectProblem(answer, 422, 'INVALID_INPUT')
    const named = Object.fromEntries(answer.body.errors.map((error: AnyJson) => [error.pointer, error]))
    expect(named['/siteId']).toEqual({
      in: 'body',
      pointer: '/siteId',
      value: '1',
      remedy: 'an integer from 1 to 999999999',
    })
    expect(named['/serialNumber'].remedy).toContain('1 to 64 letters')
    expect(named['/colour'].remedy).toContain('leave it out')
    expect(named['/name'].remedy).toContain('without blanks')
    const missing = await sendJson(`${url}/api/v1/devices`, 'POST', {})
    expect(missing.body.errors.map((error: AnyJson) => error.remedy)).toEqual([
      expect.stringMatching(/^required: an integer/),
      expect.stringMatching(/^required: text/),
    ])
  })

  test('wrong queries, paths and cursors', async () => {
    const { url } = await startApiCore()
    for (const path of [
      'devices?limit=0',
      'devices?limit=501',
      'devices?limit=abc',
      'devices?limit=1&limit=2',
      'devices?colour=red',
      'devices?status=AWAKE',
      'devices?cursor=nonsense',
      'gateways?connected=perhaps',
      'devices/0',
      'devices/1.5',
      'devices/99999999999',
      'sites/x',
      'gateways/a%20b',
    ]) {
      const answer = await getJson(`${url}/api/v1/${path}`)
      expectProblem(answer, 422, 'INVALID_INPUT')
      expect(answer.body.errors[0].remedy, path).not.toBe('')
    }
  })

  test('bodies that are no JSON, too large, or of another type', async () => {
    const { url } = await startApiCore({ limits: { bodyBytesMax: 1000 } })
    const sites = `${url}/api/v1/sites`
    expectProblem(await sendJson(sites, 'POST', '{"id":'), 400, 'BODY_MALFORMED')
    expectProblem(await sendJson(sites, 'POST', ''), 400, 'BODY_MALFORMED')
    expectProblem(await sendJson(sites, 'POST', '[]'), 422, 'INVALID_INPUT')
    expectProblem(await sendJson(sites, 'POST', 'null'), 422, 'INVALID_INPUT')
    expectProblem(await sendJson(sites, 'POST', `{"id":1,"name":"${'x'.repeat(1000)}"}`), 413, 'BODY_TOO_LARGE')
    expectProblem(await sendJson(sites, 'POST', 'x'.repeat(10_000_000)), 413, 'BODY_TOO_LARGE')
    expectProblem(
      await sendJson(sites, 'POST', '{"id":1}', { 'content-type': 'text/plain' }),
      415,
      'MEDIA_TYPE_UNSUPPORTED',
    )
    const latin1 = new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d])
    const response = await fetch(sites, { method: 'POST', body: latin1, headers: JSON_TYPE })
    expect(response.status).toBe(400)
    const endless = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(4096)) })
    const chunked = await fetch(sites, {
      method: 'POST',
      body: endless,
      headers: JSON_TYPE,
      duplex: 'half',
    } as RequestInit)
    expect(chunked.status).toBe(413)
    expect((await getJson(sites)).body.items).toEqual([])
  })

  test('what exists already, and a device of no site', async () => {
    const { url } = await startApiCore()
    await sendJson(`${url}/api/v1/sites`, 'POST', { id: 1 })
    expectProblem(await sendJson(`${url}/api/v1/sites`, 'POST', { id: 1 }), 409, 'SITE_EXISTS')
    await sendJson(`${url}/api/v1/gateways`, 'POST', { id: 'gw' })
    expectProblem(await sendJson(`${url}/api/v1/gateways`, 'POST', { id: 'gw' }), 409, 'GATEWAY_EXISTS')
    await sendJson(`${url}/api/v1/devices`, 'POST', { siteId: 1, serialNumber: 'A' })
    expectProblem(
      await sendJson(`${url}/api/v1/devices`, 'POST', { siteId: 1, serialNumber: 'A' }),
      409,
      'DEVICE_EXISTS',
    )
    const orphan = await sendJson(`${url}/api/v1/devices`, 'POST', { siteId: 2, serialNumber: 'A' })
    expectProblem(orphan, 422, 'INVALID_INPUT')
    expect(orphan.body.errors[0]).toMatchObject({ in: 'body', pointer: '/siteId', value: 2 })
  })

  test('an unforeseen failure is told without its words', async () => {
    const fails = async () => {
      throw new Error('secret of the house')
    }
    const { url } = await startApiCore({ latest: { latest: fails, latestOfSite: fails } })
    const answer = await getJson(`${url}/api/v1/devices/1/latest`)
    expectProblem(answer, 500, 'INTERNAL')
    expect(JSON.stringify(answer.body)).not.toContain('secret')
  })

  test('a host name that is none', async () => {
    const { api } = await startApiCore()
    const { port } = api.address()
    expect(await rawRequest(port, 'GET /api/v1/sites HTTP/1.1\r\nHost: ][ x\r\n\r\n')).toMatch(
      /^HTTP\/1.1 421 .*HOST_REFUSED/s,
    )
    expect(await rawRequest(port, 'GET /nothing HTTP/1.1\r\nHost: ][ x\r\n\r\n')).toMatch(
      /^HTTP\/1.1 404 .*"NOT_FOUND"/s,
    )
  })

  test("other hosts' names and other sites' pages are refused", async () => {
    const { url } = await startApiCore({ allowedOrigins: ['https://console.example'] })
    expectProblem(await getJson(`${url}/api/v1/sites`, { host: 'rebound.example' }), 421, 'HOST_REFUSED')
    const sites = `${url}/api/v1/sites`
    expectProblem(await sendJson(sites, 'POST', { id: 1 }, { origin: 'https://evil.example' }), 403, 'ORIGIN_REFUSED')
    expect((await sendJson(sites, 'POST', { id: 1 }, { origin: 'https://console.example' })).status).toBe(201)
    expect((await sendJson(sites, 'POST', { id: 2 }, { origin: url })).status).toBe(201)
  })
})

/** The answer to bytes as they are, which fetch would not send. */
function rawRequest(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text))
    socket.on('error', reject)
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk
      if (!answer.endsWith('}')) return
      socket.destroy()
      resolve(answer)
    })
  })
}
