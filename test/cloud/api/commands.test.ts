import { describe, expect, test } from 'vitest'
import type { ApiOptions } from '../../../cloud/api/api.ts'
import type { CommandSettings } from '../../../cloud/commands/commands.ts'
import { type ApiCore, startApiCore } from '../../support/api-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { type AnyJson, getJson, type JsonAnswer, sendJson } from '../../support/json-request.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const REBOOT = { device_id: 'INV-001', name: 'reboot', payload: { force: true } }

async function startWithDevice(
  overrides: Partial<ApiOptions> = {},
  settings: Partial<CommandSettings> = {},
  databaseUrl?: string,
): Promise<ApiCore & { post(body: unknown, headers?: Record<string, string>): Promise<JsonAnswer> }> {
  const api = await startApiCore(overrides, databaseUrl, settings)
  await api.registry.load('gw-1', [{ siteId: 1, serialNumber: 'INV-001' }])
  return { ...api, post: (body, headers = {}) => sendJson(`${api.url}/api/v1/commands`, 'POST', body, headers) }
}

function pointersOf(answer: JsonAnswer): string[] {
  expect(answer.status).toBe(422)
  expect(answer.body.code).toBe('INVALID_INPUT')
  for (const error of answer.body.errors) expect(error.remedy).not.toBe('')
  return answer.body.errors.map((error: AnyJson) => error.pointer).toSorted()
}

describe('a command', () => {
  test('is created, shown and listed', async () => {
    const { url, post } = await startWithDevice()
    const created = await post(REBOOT)
    expect(created.status).toBe(201)
    const { id } = created.body
    expect(created.headers.get('location')).toBe(`/api/v1/commands/${id}`)
    const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect(created.body).toEqual({
      id: expect.stringMatching(/^cmd-[0-9a-f]{8}$/),
      device_id: 'INV-001',
      site_id: 1,
      name: 'reboot',
      payload: { force: true },
      status: 'pending',
      created_at: time,
      sent_at: null,
      expires_at: time,
      updated_at: time,
      delivery: { state: 'QUEUED', reason: null, delivered_at: null, finished_at: null, response: null, late: null },
    })
    expect((await getJson(`${url}/api/v1/commands/${id}`)).body).toEqual(created.body)
    expect((await getJson(`${url}/api/v1/commands`)).body).toEqual({ items: [created.body], nextCursor: null })
  })

  test('takes any JSON, or nothing, as its payload', async () => {
    const { post } = await startWithDevice()
    for (const payload of [null, 0, '', 'text', [1, [2]], { a: { b: null } }, false]) {
      expect((await post({ ...REBOOT, payload })).body.payload).toEqual(payload)
    }
    expect((await post({ device_id: 'INV-001', name: 'x' })).body.payload).toBeNull()
    expect((await post({ device_id: 'INV-001', name: 'REBOOT' })).status).toBe(201)
  })

  test('says when it expires, by the clock or by time from now', async () => {
    const clock = new ManualClock(Date.UTC(2026, 0, 1))
    const { post } = await startWithDevice({ clock })
    expect((await post({ ...REBOOT, expires_at: '2026-01-02T01:00:00+01:00' })).body.expires_at).toBe(
      '2026-01-02T00:00:00.000Z',
    )
    expect((await post({ ...REBOOT, expires_in_ms: 60_000 })).body.expires_at).toBe('2026-01-01T00:01:00.000Z')
    expect((await post(REBOOT)).body.expires_at).toBe('2026-01-02T00:00:00.000Z')
  })

  test('shows its way to the device, and what came late', async () => {
    const { url, post, core, database } = await startWithDevice()
    const { id } = (await post(REBOOT)).body
    const report = (state: 'TIMED_OUT' | 'SUCCEEDED', payload: string | null, reason: string | null) =>
      database.transaction((transaction) =>
        core.deviceCommands.record(
          [
            {
              commandId: id,
              gatewayId: 'gw-1',
              siteId: 1,
              serialNumber: 'INV-001',
              state,
              payload,
              reason,
              receivedAtMs: Date.now(),
              value: Buffer.from('{}'),
              headers: {},
            },
          ],
          transaction,
        ),
      )
    await report('TIMED_OUT', null, 'no answer')
    await report('SUCCEEDED', '{"uptime":3}', null)
    const { delivery } = (await getJson(`${url}/api/v1/commands/${id}`)).body
    expect(delivery).toMatchObject({
      state: 'TIMED_OUT',
      reason: 'no answer',
      finished_at: expect.any(String),
      response: null,
      late: { state: 'SUCCEEDED', response: { uptime: 3 }, at: expect.any(String) },
    })
  })

  test('that is not there is a problem, and so is an id that is none', async () => {
    const { url } = await startWithDevice()
    expect((await getJson(`${url}/api/v1/commands/cmd-00000000`)).body).toMatchObject({
      status: 404,
      code: 'NOT_FOUND',
    })
    expect((await getJson(`${url}/api/v1/commands/7`)).status).toBe(422)
  })
})

describe('a refusal', () => {
  test('names everything that is wrong at once, whoever found it', async () => {
    const { url, post } = await startWithDevice({}, { allowUnknownDevices: false, payloadBytesMax: 100 })
    expect(pointersOf(await post({}))).toEqual(['/device_id', '/name'])
    expect(
      pointersOf(
        await post({
          device_id: 'nobody',
          name: 'SET_TOU',
          payload: { tou: 1 },
          expires_at: '2020-01-01T00:00:00Z',
          expires_in_ms: 5,
          timeout_ms: '5',
          colour: 'red',
        }),
      ),
    ).toEqual([
      '/colour',
      '/device_id',
      '/expires_at',
      '/expires_in_ms',
      '/payload/tou',
      '/payload/tou_profile_id',
      '/timeout_ms',
    ])
    expect(pointersOf(await post({ ...REBOOT, device_id: 'nobody', site_id: 'x' }))).toEqual(['/site_id'])
    expect(pointersOf(await post('[]'))).toEqual([''])
    expect((await getJson(`${url}/api/v1/commands`)).body.items).toEqual([])
  })

  test('tells of the device what it may be, and of several sites which', async () => {
    const { post, registry } = await startWithDevice({}, { allowUnknownDevices: false })
    await registry.load('gw-2', [{ siteId: 2, serialNumber: 'INV-001' }])
    const several = await post(REBOOT)
    expect(several.body.errors).toEqual([{ in: 'body', pointer: '/site_id', remedy: expect.stringContaining('1, 2') }])
    expect((await post({ ...REBOOT, site_id: 2 })).body).toMatchObject({ site_id: 2 })
    const unknown = await post({ ...REBOOT, device_id: 'dev-xyz' })
    expect(unknown.body.errors).toEqual([
      {
        in: 'body',
        pointer: '/device_id',
        value: 'dev-xyz',
        remedy: expect.stringContaining('commands.allowUnknownDevices'),
      },
    ])
  })

  test('of a payload that is too large or too deep says how large it may be', async () => {
    const { post } = await startWithDevice({}, { payloadBytesMax: 100 })
    const large = await post({ ...REBOOT, payload: 'x'.repeat(99) })
    expect(large.body.errors).toEqual([
      {
        in: 'body',
        pointer: '/payload',
        value: '101 bytes',
        remedy: 'at most 100 bytes as JSON (commands.payloadBytesMax)',
      },
    ])
    const deep = await post(`{"device_id":"INV-001","name":"x","payload":${'['.repeat(20_000)}${']'.repeat(20_000)}}`)
    expect(deep.body.errors).toEqual([{ in: 'body', pointer: '/payload', remedy: expect.stringContaining('levels') }])
  })

  test('of an unknown name only where the settings say so, with those that are known', async () => {
    const { post } = await startWithDevice({}, { allowUnknownTypes: false })
    const [error] = (await post(REBOOT)).body.errors
    expect(error).toMatchObject({ pointer: '/name', value: 'reboot' })
    expect(error.remedy).toMatch(/one of SET_TOU, REBOOT, .*commands\.allowUnknownTypes/)
  })
})

test('a list has the newest first, and is narrowed by each filter', async () => {
  const clock = new ManualClock(Date.UTC(2026, 0, 1))
  const { url, post } = await startWithDevice({ clock })
  const ids: string[] = []
  for (const device_id of ['INV-001', 'dev-a', 'INV-001', 'dev-b', 'INV-001']) {
    ids.unshift((await post({ ...REBOOT, device_id })).body.id)
    clock.advance(1_000)
  }
  const list = async (query: string) => (await getJson(`${url}/api/v1/commands?${query}`)).body
  const found = async (query: string) => (await list(query)).items.map((item: AnyJson) => item.id)
  expect(await found('')).toEqual(ids)
  expect(await found('device_id=INV-001')).toEqual([ids[0], ids[2], ids[4]])
  expect(await found('delivery_state=QUEUED&site_id=1')).toEqual([ids[0], ids[2], ids[4]])
  expect(await found('status=sent')).toEqual([])
  expect(await found('status=pending&created_after=2026-01-01T00:00:03Z')).toEqual([ids[0], ids[1]])
  expect(await found('created_before=2026-01-01T01:00:01%2B01:00')).toEqual([ids[4]])
  const first = await list('limit=2')
  await post(REBOOT)
  const second = await list(`limit=2&cursor=${first.nextCursor}`)
  expect([...first.items, ...second.items].map((item: AnyJson) => item.id)).toEqual(ids.slice(0, 4))
})

test.each([
  'limit=0',
  'cursor=nonsense',
  'status=lost',
  'delivery_state=queued',
  'device_id=a%20b',
  'created_after=yesterday',
  'created_before=2026-02-30T00:00:00Z',
  'created_after=2026-01-01T00:00:00',
  'colour=red',
])('a list refuses the query %s', async (query) => {
  const { url } = await startWithDevice()
  const answer = await getJson(`${url}/api/v1/commands?${query}`)
  expect(answer.body).toMatchObject({ status: 422, code: 'INVALID_INPUT', errors: [{ in: 'query' }] })
})

await describeOnEveryDatabase('a repeated request for a command', ({ freshUrl }) => {
  const key = { 'idempotency-key': 'k1' }

  test('gives the first answer again, and makes no second command', async () => {
    const { url, post } = await startWithDevice({}, {}, await freshUrl())
    const first = await post(REBOOT, key)
    const again = await post(REBOOT, key)
    expect(again).toMatchObject({ status: 201, body: first.body })
    expect(again.headers.get('location')).toBe(first.headers.get('location'))
    expect((await post({ ...REBOOT, name: 'other' }, key)).body.code).toBe('IDEMPOTENCY_KEY_REUSED')
    expect((await getJson(`${url}/api/v1/commands`)).body.items).toHaveLength(1)
  })

  test('finds the answer although the core died before it could give it', async () => {
    const { url, post, core, database } = await startWithDevice({}, {}, await freshUrl())
    // The last that the core did was to commit: what it would have done after that fails.
    core.deviceCommands.nudge = () => {
      throw new Error('killed')
    }
    expect((await post(REBOOT, key)).status).toBe(500)
    const [stored] = await database.kysely.selectFrom('commands').select('id').execute()
    const again = await post(REBOOT, key)
    expect(again).toMatchObject({ status: 201, body: { id: stored?.id } })
    expect((await getJson(`${url}/api/v1/commands`)).body.items).toHaveLength(1)
  })

  test('takes over from one that was too slow, which then makes no command', async () => {
    const clock = new ManualClock(Date.now())
    const limits = { idempotencyInFlightMaxMs: 60_000 }
    const { url, post, core } = await startWithDevice({ clock, limits }, {}, await freshUrl())
    const { selection } = core.registry
    const lookUp = selection.bySerialNumbers.bind(selection)
    let release = (): void => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    let reached = (): void => {}
    const waiting = new Promise<void>((resolve) => {
      reached = resolve
    })
    selection.bySerialNumbers = async (...args) => {
      selection.bySerialNumbers = lookUp
      reached()
      await held
      return lookUp(...args)
    }
    const slow = post(REBOOT, key)
    await waiting
    clock.advance(60_001)
    const quick = await post(REBOOT, key)
    expect(quick.status).toBe(201)
    release()
    expect((await slow).body.code).toBe('IDEMPOTENCY_IN_FLIGHT')
    expect((await getJson(`${url}/api/v1/commands`)).body.items).toEqual([quick.body])
    expect((await post(REBOOT, key)).body).toEqual(quick.body)
  })

  test('may be mended after a refusal', async () => {
    const { post, registry } = await startWithDevice({}, { allowUnknownDevices: false }, await freshUrl())
    const request = { ...REBOOT, device_id: 'INV-002' }
    expect((await post(request, key)).status).toBe(422)
    await registry.load('gw-1', [{ siteId: 1, serialNumber: 'INV-002' }])
    expect((await post(request, key)).status).toBe(201)
  })
})
