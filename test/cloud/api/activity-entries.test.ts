/**
 * Every route of the core: each call that changes something is recorded once, with who, from where, what and how it ended; and
 * of calls that read, those that were refused. A new route is walked as well.
 */

import { Value } from '@sinclair/typebox/value'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventOf, type NewActivity, UserActivitySchema } from '../../../cloud/activity/activity.ts'
import { recordedTypes } from '../../../cloud/api/http/activity.ts'
import { callerOfRequest } from '../../../cloud/api/http/caller.ts'
import type { Reply, Route } from '../../../cloud/api/http/route.ts'
import { createRouter } from '../../../cloud/api/http/router.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { callerNamed, FIXED_CALLERS } from '../../support/fixed-callers.ts'
import { KeptActivities } from '../../support/recorded.ts'
import { startWalkCore, type WalkCore } from '../../support/walk-core.ts'
import { walkRequest } from '../../support/walk-requests.ts'

const ADMIN = 'admin.all'
const PROGRAM = 'poorkey+admin.all'
const AGENT = 'walk'
const ADDRESS = '192.0.2.7'

/** What entries are about. A route whose path does not tell calls `activity.about` in its handler, or is named in PLACES. */
const OBJECTS = [
  ...[
    'activity',
    'activity-log',
    'alert',
    'alert-rule',
    'api-key',
    'approval',
    'certificate',
    'command',
    'conversation',
    'dead-letter',
  ],
  ...['device', 'enrolment-token', 'gateway', 'login', 'member', 'message', 'notification', 'site', 'task', 'user'],
  ...['telemetry', 'websocket'],
]
/** Those that are about many, or make nothing that has a name. */
const WITHOUT_ID = new Set(['replayDeadLetters', 'openLive', 'exportActivities', 'exportTelemetry'])

let core: WalkCore
const kept = new KeptActivities()
let ask: (route: Route, credential: string | null) => Promise<{ status: number; path: string; entries: NewActivity[] }>

beforeAll(async () => {
  core = await startWalkCore([ADMIN, PROGRAM])
  const remembered = {
    once: (_: string, _route: string, _digest: string, work: (remember: never) => Promise<Reply>) =>
      work(undefined as never),
  }
  const router = createRouter({
    routes: core.routes,
    context: { bodyBytesMax: 1_048_576, ...remembered },
    origins: { allowedOrigins: [], publicUrl: null, knowsHost: () => true },
    arrivalOf: () => ({ address: ADDRESS, secure: false, host: null }),
    callerOf: (request, { secure }, anonymous) => callerOfRequest(request, secure, FIXED_CALLERS, anonymous),
    activities: kept,
    clock: systemClock,
    log: silentLogger,
    onAnswer: () => undefined,
    onRefused: () => undefined,
  })
  ask = async (route, credential) => {
    const caller = callerNamed(credential ?? ADMIN)
    const what = { place: core.places[0], caller, credential, isAllowed: credential === ADMIN }
    const { url, headers, body, method } = await walkRequest(core, route, what)
    kept.take()
    const length: Record<string, string> = body === null ? {} : { 'content-length': String(Buffer.byteLength(body)) }
    const sent = { ...headers, ...length, 'user-agent': AGENT, 'x-request-id': requestIdOf(route, credential) }
    const request = new Request(url, { method, headers: sent, ...(body === null ? {} : { body }) })
    const response = await router.handle(request)
    await response.body?.cancel()
    return { status: response.status, path: new URL(url).pathname, entries: kept.take() }
  }
})
afterAll(() => core?.stop())

function requestIdOf({ operationId }: Route, credential: string | null): string {
  return `${operationId}:${credential}`.replace('+', '-')
}

/** What stands in an entry whatever the route. */
function common(route: Route, credential: string | null, path: string, status: number) {
  const caller = credential === null ? null : callerNamed(credential)
  return {
    userId: caller?.id ?? 'anonymous',
    outcome: status < 400 ? 'SUCCESS' : status === 401 || status === 403 ? 'REFUSED' : 'FAILURE',
    correlationId: requestIdOf(route, credential),
    metadata: {
      ...{ ipAddress: ADDRESS, userAgent: AGENT, method: route.method, path, status, operation: route.operationId },
      ...(caller === null ? {} : { sessionId: caller.credentialId }),
    },
  }
}

/** What is wrong with the object of an entry; null when it is sensible. */
function objectProblem({ path, operationId }: Route, entry: NewActivity, asked: string): string | null {
  const { objectType, objectId, outcome } = entry
  if (!OBJECTS.includes(objectType ?? '')) return `about ${objectType}, which is nothing`
  const names = path.includes('/:')
  const id = asked.split('/').findLast((_, i) => path.split('/')[i]?.startsWith(':'))
  if (names && outcome !== 'SUCCESS' && objectId !== decodeURIComponent(id ?? '')) return `of ${objectId}, not ${id}`
  return outcome === 'SUCCESS' && objectId === undefined && !WITHOUT_ID.has(operationId) ? 'of none' : null
}

test('every call that changes something is recorded once, whoever asks and however it ends', async () => {
  const changing = core.routes.filter(({ activityType }) => activityType !== null)
  expect(changing.length).toBeGreaterThan(40)
  const wrong: string[] = []
  let succeeded = 0
  for (const route of changing) {
    // What nobody needs a role for is refused to nobody.
    for (const credential of route.permission === 'none' ? [ADMIN] : [null, PROGRAM, ADMIN]) {
      const { status, path, entries } = await ask(route, credential)
      const [entry] = entries
      if (status < 400) succeeded++
      expect(entries, `${route.operationId} as ${credential}`).toEqual([
        expect.objectContaining({
          ...common(route, credential, path, status),
          activityType: route.activityType,
          metadata: expect.objectContaining(common(route, credential, path, status).metadata),
        }),
      ])
      const problem = objectProblem(route, entry as NewActivity, path)
      if (problem !== null) wrong.push(`${route.operationId} as ${credential}, ${status}: ${problem}`)
      const event = eventOf(entry as NewActivity, { eventId: 'evt_1', nowMs: 0 })
      const misfits = [...Value.Errors(UserActivitySchema, event)].map(({ path: at, message }) => `${at}: ${message}`)
      expect(misfits, route.operationId).toEqual([])
    }
  }
  expect(wrong).toEqual([])
  expect(succeeded).toBeGreaterThan(25)
})

test('a call that reads is recorded when it is refused, and otherwise not', async () => {
  const reading = core.routes.filter(({ activityType }) => activityType === null)
  expect(reading.length).toBeGreaterThan(30)
  for (const route of reading) {
    const allowed = await ask(route, ADMIN)
    if (![401, 403].includes(allowed.status)) expect(allowed.entries, route.operationId).toEqual([])
    if (route.permission === 'none') continue
    const { status, path, entries } = await ask(route, null)
    expect(entries, route.operationId).toEqual([
      expect.objectContaining({
        ...common(route, null, path, status),
        activityType: 'access_refused',
        metadata: expect.objectContaining({ operation: route.operationId, status: 401 }),
      }),
    ])
  }
})

test('what was done to a device is found by its serial number as well', async () => {
  for (const operationId of ['createDevice', 'changeDevice']) {
    const route = core.routes.find((each) => each.operationId === operationId) as Route
    const [entry] = (await ask(route, ADMIN)).entries
    expect(entry, operationId).toMatchObject({
      objectType: 'device',
      metadata: { serialNumber: expect.stringMatching(/./) },
    })
  }
})

test('the catalogue has a type for every operation that changes something, and its own for commands, tasks and logins', () => {
  const types = recordedTypes(core.routes)
  expect([...types.keys()]).toEqual(
    expect.arrayContaining(['create_alert_rule', 'delete_alert_rule', 'command', 'task', 'login', 'websocket_connect']),
  )
  for (const none of ['create_command', 'log_in', 'test_alert_rule', 'record_activities', 'create_challenge']) {
    expect(types.has(none), none).toBe(false)
  }
})
