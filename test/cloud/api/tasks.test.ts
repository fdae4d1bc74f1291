import { TypeCompiler } from '@sinclair/typebox/compiler'
import { describe, expect, it, onTestFinished } from 'vitest'
import { IdempotencyKeys } from '../../../cloud/api/http/idempotency.ts'
import { createRouter } from '../../../cloud/api/http/router.ts'
import { inputErrors } from '../../../cloud/api/http/validation.ts'
import { taskRoutes } from '../../../cloud/api/routes/tasks.ts'
import { TaskDeviceSchema, TaskSchema } from '../../../cloud/api/schemas/task.ts'
import { openDatabase } from '../../../cloud/database/database.ts'
import { LOCAL_CALLER } from '../../../cloud/identity/identity.ts'
import type { TaskSettings } from '../../../cloud/orchestration/orchestration.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import type { AnyJson } from '../../support/json-request.ts'
import { embeddedBus } from '../../support/outbox-relay.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'
import { deviceSide, registerMeters, type TaskCore, taskCore } from '../orchestration/support/task-core.ts'

const HOST = 'http://127.0.0.1'
const TASK = {
  command_type: 'SET_TOU',
  command_params: { tou_profile_id: 'TOU-2025-TEST' },
  device_ids: ['MTR-00000', 'MTR-00001', 'MTR-00002'],
  requested_by: 'userB',
}
const shows = { task: TypeCompiler.Compile(TaskSchema), device: TypeCompiler.Compile(TaskDeviceSchema) }

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: AnyJson
}

/** The routes of tasks over a core whose orchestration runs, with meters MTR-00000 and so on at site 1. */
async function start(options: { readonly meters?: number; readonly settings?: Partial<TaskSettings> } = {}) {
  const database = openDatabase({ url: `sqlite:${await tempDir()}/busbar.db`, clock: systemClock, log: silentLogger })
  await database.start()
  onTestFinished(() => database.stop())
  const core = taskCore(database, await embeddedBus(), options)
  await core.start()
  await registerMeters(core.registry, options.meters ?? 3)
  const clock = systemClock
  const keys = new IdempotencyKeys({ database: database.kysely, clock, keptMs: 60_000, inFlightMaxMs: 60_000 })
  const app = createRouter({
    routes: taskRoutes(core),
    context: { bodyBytesMax: 1_048_576, once: (...request) => keys.once(...request) },
    origins: { allowedOrigins: [], publicUrl: null, knowsHost: () => true },
    arrivalOf: () => ({ address: '127.0.0.1', secure: false, host: null }),
    callerOf: () => Promise.resolve(LOCAL_CALLER),
    clock,
    log: silentLogger,
    onAnswer: () => undefined,
    onRefused: () => undefined,
  })
  const ask = async (
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> => {
    const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body)
    const sent: Record<string, string> =
      text === undefined ? {} : { 'content-type': 'application/json', 'content-length': `${Buffer.byteLength(text)}` }
    const response = await app.handle(
      new Request(`${HOST}/api/v1/tasks${path}`, {
        method,
        headers: { host: '127.0.0.1', ...sent, ...headers },
        ...(text === undefined ? {} : { body: text }),
      }),
    )
    return { status: response.status, headers: response.headers, body: await response.json() }
  }
  const post = (body: unknown, headers?: Record<string, string>) => ask('POST', '', body, headers)
  const errors = async (body: unknown) => (await post(body)).body.errors as { pointer: string; remedy: string }[]
  return { core, ask, post, errors }
}

function ended(core: TaskCore, id: string) {
  return until(async () => (await core.tasks.get(id))?.finishedAtMs != null, { what: `the end of task ${id}` })
}

describe('a task over REST', () => {
  it('is accepted, followed and shown device by device', async () => {
    const { core, ask, post } = await start()
    deviceSide(core, ({ serialNumber }) =>
      serialNumber === 'MTR-00002'
        ? { state: 'FAILED', reason: 'unknown profile' }
        : { state: 'SUCCEEDED', payload: { dlmsResultCode: 0 } },
    )
    const created = await post({ ...TASK, options: { rate: { per_minute: 6_000 }, expires_in_ms: 60_000 } })
    expect(created.status).toBe(202)
    const { taskId } = created.body
    expect(taskId).toMatch(/^[0-9a-f]{24}$/)
    expect(created.headers.get('location')).toBe(`/api/v1/tasks/${taskId}`)
    expect(created.body).toMatchObject({ ...withoutDevices(TASK), state: 'REQUESTED', device_count: 3, round: 1 })
    await ended(core, taskId)

    const { body } = await ask('GET', `/${taskId}`)
    expect(inputErrors(shows.task, body, 'body')).toEqual([])
    expect(body).toMatchObject({ state: 'COMPLETED', source: 'api', options: { rate: { per_minute: 6_000 } } })
    expect(body.tally).toEqual({
      QUEUED: 0,
      SENT: 0,
      DELIVERED: 0,
      SUCCEEDED: 2,
      FAILED: 1,
      REJECTED: 0,
      TIMED_OUT: 0,
      EXPIRED: 0,
      CANCELLED: 0,
    })
    const first = await ask('GET', `/${taskId}/devices?limit=2`)
    const second = await ask('GET', `/${taskId}/devices?limit=2&cursor=${first.body.nextCursor}`)
    const devices = [...first.body.items, ...second.body.items]
    expect(devices.map((device) => device.device_id)).toEqual(TASK.device_ids)
    expect(second.body.nextCursor).toBeNull()
    for (const device of devices) expect(inputErrors(shows.device, device, 'body')).toEqual([])
    expect(devices[0]).toMatchObject({ site_id: 1, state: 'SUCCEEDED', attempt: 1, response: { dlmsResultCode: 0 } })
    const failed = await ask('GET', `/${taskId}/devices?state=FAILED`)
    expect(failed.body.items).toMatchObject([{ device_id: 'MTR-00002', reason: 'unknown profile', late: null }])
  })

  it('chooses devices by site, by type, and by both', async () => {
    const { core, post } = await start()
    await core.registry.load('gw-1', [{ siteId: 1, serialNumber: 'INV-1' }])
    await core.registry.load('gw-2', [{ siteId: 2, serialNumber: 'MTR-00000' }])
    const { device_ids: _, ...rest } = TASK
    const count = async (choice: object) => (await post({ ...rest, ...choice })).body.device_count
    expect(await count({ site_id: 1 })).toBe(4)
    expect(await count({ device_type: 'METER' })).toBe(4)
    expect(await count({ site_id: 1, device_type: 'METER' })).toBe(3)
    expect(await count({ site_id: 2, device_ids: ['MTR-00000'] })).toBe(1)
  })

  it('says of every device that cannot be meant which one and why', async () => {
    const { core, errors, post } = await start()
    await core.registry.load('gw-2', [{ siteId: 2, serialNumber: 'MTR-00002' }])
    expect(await errors({ ...TASK, device_ids: ['MTR-00000', 'nobody', 'MTR-00000', 'MTR-00002'] })).toEqual([
      {
        in: 'body',
        pointer: '/device_ids/2',
        value: 'MTR-00000',
        remedy: 'leave it out: /device_ids/0 is the same',
      },
      {
        in: 'body',
        pointer: '/device_ids/1',
        value: 'nobody',
        remedy: 'the serial number of one registered device; no device of this serial number is registered',
      },
      {
        in: 'body',
        pointer: '/device_ids/3',
        value: 'MTR-00002',
        remedy:
          'the serial number of one registered device; sites 1, 2 have a device of this serial number: name one with site_id',
      },
    ])
    expect((await errors({ ...TASK, device_ids: [] }))[0]).toMatchObject({ pointer: '/device_ids' })
    const { device_ids: _, ...rest } = TASK
    expect((await errors(rest))[0]?.remedy).toMatch(/^required/)
    expect((await errors({ ...rest, site_id: 9 }))[0]).toMatchObject({
      pointer: '/site_id',
      remedy: 'one that devices are registered with: none matches site 9',
    })
    expect((await errors({ ...TASK, device_ids: ['MTR-00000'], device_type: 'METER' }))[0]).toMatchObject({
      pointer: '/device_type',
    })

    const many = await post({ ...TASK, device_ids: Array.from({ length: 250 }, (_, index) => `nobody-${index}`) })
    expect(many.status).toBe(422)
    expect(many.body.errors).toHaveLength(100)
    expect(many.body.detail).toBe('250 values are not allowed, of which the first 100 are listed.')
    expect(await core.tasks.list()).toMatchObject({ items: [] })
  })

  it('names everything that is wrong at once', async () => {
    const { errors } = await start()
    const wrong = {
      ...TASK,
      command_params: { tou_profile_id: 5 },
      device_ids: ['nobody'],
      options: { expires_in_ms: 60_000, expires_at: '2001-01-01T00:00:00Z' },
    }
    const pointers = async (body: object) => (await errors(body)).map((error) => error.pointer).sort()
    expect(await pointers(wrong)).toEqual([
      '/command_params/tou_profile_id',
      '/device_ids/0',
      '/options/expires_at',
      '/options/expires_in_ms',
    ])
    expect(await pointers({ ...wrong, requested_by: '' })).toContain('/command_params/tou_profile_id')
    expect(await pointers({ ...TASK, options: { concurency: 5 } })).toEqual(['/options/concurency'])
  })

  it('holds the limits of devices and of a record', async () => {
    const { errors } = await start({ settings: { devicesMax: 2, payloadBytesMax: 2_000_000 } })
    expect((await errors(TASK))[0]).toMatchObject({
      pointer: '/device_ids',
      value: '3 serial numbers',
      remedy: 'at most 2 serial numbers (tasks.devicesMax); make several tasks',
    })
    const { device_ids: _, ...rest } = TASK
    expect((await errors({ ...rest, site_id: 1 }))[0]?.remedy).toMatch(/^a choice of at most 2 devices/)
    const large = { ...TASK, device_ids: ['MTR-00000'], command_type: 'other', command_params: 'x'.repeat(950_000) }
    expect((await errors(large))[0]?.remedy).toMatch(/^fewer devices or smaller parameters: together 950\d\d\d bytes/)
  })

  it('is made once for an idempotency key', async () => {
    const { core, post, ask } = await start()
    const key = { 'idempotency-key': 'a-key' }
    const [first, second] = [await post(TASK, key), await post(TASK, key)]
    expect(second.body).toEqual(first.body)
    expect((await core.tasks.list()).items).toHaveLength(1)
    // Cancelling twice with one key is cancelling once; without one it says why that cannot be.
    const { taskId } = first.body
    const cancelled = await ask('POST', `/${taskId}/cancel`, { reason: 'enough' }, key)
    expect(cancelled.status).toBe(202)
    expect(cancelled.body).toMatchObject({ state: 'CANCELLING', reason: 'enough' })
    expect((await ask('POST', `/${taskId}/cancel`, { reason: 'enough' }, key)).body).toEqual(cancelled.body)
    const other = (await post(TASK)).body.taskId
    const reused = await ask('POST', `/${other}/cancel`, { reason: 'enough' }, key)
    expect([reused.status, reused.body.code]).toEqual([422, 'IDEMPOTENCY_KEY_REUSED'])
  })

  it('is cancelled and tried again without a body, and refuses with a hint when that does not fit', async () => {
    const { core, post, ask } = await start()
    const { taskId } = (await post(TASK)).body
    const early = await ask('POST', `/${taskId}/retry`)
    expect([early.status, early.body.code]).toEqual([409, 'TASK_STATE_CONFLICT'])
    expect(early.body.hint).toContain('/cancel')
    expect((await ask('POST', `/${taskId}/cancel`)).status).toBe(202)
    await ended(core, taskId)
    const late = await ask('POST', `/${taskId}/cancel`)
    expect([late.status, late.body.code]).toEqual([409, 'TASK_STATE_CONFLICT'])
    expect(late.body.hint).toContain(`/api/v1/tasks/${taskId}/retry`)
    deviceSide(core, () => ({ state: 'SUCCEEDED' }))
    const again = await ask('POST', `/${taskId}/retry`)
    expect(again.status).toBe(202)
    expect(again.body).toMatchObject({ round: 2, state: 'REQUESTED', finished_at: null })
    await ended(core, taskId)
    expect((await ask('GET', `/${taskId}`)).body).toMatchObject({ state: 'COMPLETED', tally: { SUCCEEDED: 3 } })
    expect((await ask('POST', `/${taskId}/retry`)).body.detail).toContain('no device failed')
    expect((await ask('POST', `/${taskId}/cancel`, '[]')).status).toBe(422)
    expect((await ask('POST', `/${'0'.repeat(24)}/cancel`)).status).toBe(404)
    expect((await ask('GET', `/${'0'.repeat(24)}/devices`)).status).toBe(404)
    expect((await ask('GET', '/short')).status).toBe(422)
  })

  it('is listed, the newest first, by state, requester and time', async () => {
    const { post, ask } = await start()
    const ids: string[] = []
    for (const requested_by of ['a', 'b', 'a', 'c', 'a']) ids.push((await post({ ...TASK, requested_by })).body.taskId)
    const listed = async (query: string) => {
      const { body } = await ask('GET', query)
      return body.items.map((task: { taskId: string }) => task.taskId)
    }
    expect((await listed('')).toSorted()).toEqual(ids.toSorted())
    expect(await listed('?requested_by=a')).toHaveLength(3)
    expect(await listed('?state=ABORTED')).toEqual([])
    expect(await listed('?created_before=2001-01-01T00:00:00Z')).toEqual([])
    expect(await listed('?created_after=2001-01-01T00:00:00Z')).toHaveLength(5)
    const walked: string[] = []
    for (let next: string | null = ''; next !== null; ) {
      const page: Answer = await ask('GET', `?limit=2${next === '' ? '' : `&cursor=${next}`}`)
      walked.push(...page.body.items.map((task: { taskId: string }) => task.taskId))
      next = page.body.nextCursor
    }
    expect(walked).toEqual(await listed(''))
    expect((await ask('GET', '?cursor=bm9uc2Vuc2U')).status).toBe(422)
  })
})

function withoutDevices({ device_ids: _, ...rest }: typeof TASK) {
  return rest
}
