/**
 * Every route of the core × every caller: what each answers is foretold from its declaration alone. A new route is walked as
 * well; one whose path or body names something that the tables in walk-requests.ts do not know fails with words that say what to add.
 */

import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Route } from '../../../cloud/api/http/route.ts'
import { type Caller, hasRole, withinScopes } from '../../../cloud/identity/identity.ts'
import { includesSite } from '../../../cloud/registry/site-scope.ts'
import { callerNamed } from '../../support/fixed-callers.ts'
import { marksOf, type Place } from '../../support/two-sites.ts'
import { startWalkCore, type WalkCore } from '../../support/walk-core.ts'
import { SENT, TARGETS, type Target, walkRequest } from '../../support/walk-requests.ts'

const ROLES = ['viewer', 'operator', 'engineer', 'admin', 'auditor']
const CREDENTIALS = [
  ...ROLES.flatMap((role) => [`${role}.1`, `${role}.2`, `${role}.all`]),
  // Sees the site, and has the role elsewhere.
  ...['operator', 'engineer', 'admin'].map((role) => `viewer.1+${role}.2`),
  ...['nobody', 'key+engineer.1', 'key+admin.all', 'poorkey+admin.all'],
]

/** Requests at one time: fewer than exports that may be. */
const AT_ONCE = 6

let core: WalkCore
beforeAll(async () => {
  core = await startWalkCore(CREDENTIALS)
})
afterAll(() => core?.stop())

test('every route is known to this walk, so that none is left out', () => {
  expect(core.routes.length).toBeGreaterThan(50)
  const unknown = core.routes.flatMap((route) => unknownOf(route).map((what) => `${route.operationId}: ${what}`))
  expect(unknown).toEqual([])
})

test('every route that is about sites says where its role is asked for', () => {
  const without = core.routes.filter(({ permission, sitesRule }) => {
    return (permission !== 'none' && permission.scope === 'site') !== (sitesRule !== null)
  })
  expect(without.map(({ operationId }) => operationId)).toEqual([])
})

test('every route answers every caller as it declares', async () => {
  const wrong: string[] = []
  for (const route of core.routes) {
    const walk = async (credential: string) => {
      const caller = callerNamed(credential)
      const [place, other] = core.places
      const expected = expectation(route, caller, place)
      const answer = await ask(route, place, caller, credential, expected === 'passes')
      const problem = judged(answer, expected, caller, other)
      if (problem !== null) wrong.push(`${route.operationId} as ${credential}: ${problem}`)
    }
    for (let i = 0; i < CREDENTIALS.length; i += AT_ONCE) await Promise.all(CREDENTIALS.slice(i, i + AT_ONCE).map(walk))
  }
  expect(wrong).toEqual([])
})

test('what a caller may not see is refused in the words of what does not exist', async () => {
  const wrong: string[] = []
  const named = core.routes.filter(({ sitesRule, path }) => sitesRule === 'of' && path.includes('/:'))
  for (const route of named.filter(({ operationId }) => SENT[operationId]?.names !== true)) {
    for (const credential of ['admin.2', 'key+admin.2']) {
      const caller = callerNamed(credential)
      const [place] = core.places
      const hidden = await ask(route, place, caller, credential)
      const missing = await ask(route, place, caller, credential, false, true)
      const toAll = await ask(route, place, caller, 'admin.all', false, true)
      const said = withoutIds(hidden.text, idsOf(route, place, caller, false))
      const expected = withoutIds(missing.text, idsOf(route, place, caller, true))
      if (hidden.status !== 404 || said !== expected || missing.text !== toAll.text) {
        wrong.push(`${route.operationId}: ${hidden.text} but ${missing.text}, and to all ${toAll.text}`)
      }
    }
  }
  expect(wrong).toEqual([])
})

test('a conversation is there for those who are in it, and for others it is what does not exist, whatever their roles', async () => {
  const wrong: string[] = []
  const own = core.routes.filter((route) => targetOf(route)?.seenBy === 'members')
  expect(own.length).toBeGreaterThan(10)
  for (const route of own) {
    // A role over every site is none here; what auditors see is tested where they do.
    const [[place], owner] = [core.places, callerNamed('admin.1')]
    const hidden = await ask(route, place, owner, 'engineer.all')
    const missing = await ask(route, place, owner, 'engineer.all', false, true)
    const said = withoutIds(hidden.text, idsOf(route, place, owner, false))
    if (hidden.status !== 404 || said !== withoutIds(missing.text, idsOf(route, place, owner, true))) {
      wrong.push(`${route.operationId}: ${hidden.text} but ${missing.text}`)
    }
  }
  expect(wrong).toEqual([])
})

test('nobody who is not logged in gets past anything that needs a role', async () => {
  for (const route of core.routes) {
    if (route.permission === 'none') continue
    const { status } = await ask(route, core.places[0], callerNamed('nobody'), null)
    expect(status, route.operationId).toBe(401)
  }
})

test('what belongs to another user is nobody else’s, whatever their roles', async () => {
  const own = core.routes.filter(({ permission }) => permission !== 'none' && permission.scope === 'self')
  expect(own.length).toBeGreaterThan(5)
  for (const route of own) {
    const { status } = await ask(route, core.places[0], callerNamed('viewer.1'), 'admin.all')
    expect(status, route.operationId).toBe(403)
  }
})

/** `open`: it asks for no role, but perhaps for a password. */
type Expected = 'open' | 'passes' | 'hidden' | 'ROLE_MISSING' | 'SCOPE_MISSING' | number

/** From the declaration alone. Of what is listed everybody with the role somewhere gets what is theirs. */
function expectation(route: Route, caller: Caller, { siteId }: Place): Expected {
  const { permission, tag, method, operationId } = route
  if (permission === 'none') return 'open'
  const access = route.access ?? (method === 'GET' ? 'read' : 'write')
  if (route.scopes !== 'later' && !withinScopes(caller, tag, access)) return 'SCOPE_MISSING'
  const { role, scope } = permission
  const seenBy = targetOf(route)?.seenBy ?? 'viewer'
  if (scope === 'global') return caller.sites(role) === 'all' ? 'passes' : 'ROLE_MISSING'
  if (!hasRole(caller, role)) return 'ROLE_MISSING'
  const sent = SENT[operationId]
  const isOfOne = sent?.hidden !== undefined || targetOf(route) !== undefined
  const passes = sent?.refused?.(caller) === true ? 403 : 'passes'
  if (scope === 'self' || seenBy === 'members' || (route.sitesRule === 'listed' && !isOfOne)) return passes
  if (!includesSite(caller.sites(seenBy), siteId)) return sent?.hidden ?? 'hidden'
  if (!includesSite(caller.sites(role), siteId)) return 'ROLE_MISSING'
  return passes
}

interface Answer {
  readonly status: number
  readonly text: string
}

function judged({ status, text }: Answer, expected: Expected, caller: Caller, other: Place): string | null {
  const short = `${status} ${text.slice(0, 300)}`
  const code = status < 400 ? null : (JSON.parse(text) as { code: string }).code
  if (status >= 500) return short
  if (expected === 'open') return code === 'ROLE_MISSING' || code === 'SCOPE_MISSING' ? short : null
  if (expected === 'hidden') return status === 404 ? null : `expected what does not exist: ${short}`
  if (typeof expected === 'number') return status === expected ? null : `expected ${expected}: ${short}`
  if (expected !== 'passes') return status === 403 && code === expected ? null : `expected ${expected}: ${short}`
  // What the handler says of it beyond that, such as a conflict, is another matter.
  if ([401, 403, 404].includes(status)) return `expected to pass: ${short}`
  const shown = includesSite(caller.sites('viewer'), other.siteId)
    ? []
    : marksOf(other).filter((mark) => text.includes(mark))
  return shown.length === 0 ? null : `shows ${shown.join(', ')} of another site: ${short}`
}

async function ask(
  route: Route,
  place: Place,
  caller: Caller,
  credential: string | null,
  isAllowed = false,
  isMissing = false,
): Promise<Answer> {
  const { url, ...request } = await walkRequest(core, route, { place, caller, credential, isAllowed, isMissing })
  const response = await fetch(url, request)
  return { status: response.status, text: await response.text() }
}

function withoutIds(text: string, ids: readonly (string | number)[]): string {
  const named = ids.map((id) => RegExp.escape(String(id))).join('|')
  return text.replaceAll(new RegExp(`(?<!\\w)(${named})(?!\\w)`, 'g'), '…')
}

function idsOf({ path }: Route, place: Place, caller: Caller, isMissing: boolean): (string | number)[] {
  const targets = [...path.matchAll(/([^/]+\/:[^/]+)/g)].map(([, key = '']) => TARGETS[key] as Target)
  return targets.map(({ at, missing }) => (isMissing ? missing : at(place, caller, core)))
}

/** What the path names first; the rest of it is within that. */
function targetOf({ path }: Route): Target | undefined {
  const [, key = ''] = /([^/]+\/:[^/]+)/.exec(path) ?? []
  return TARGETS[key]
}

function unknownOf({ path, operationId, permission, body, bodyOptional = false, query }: Route): string[] {
  const keys = [...path.matchAll(/([^/]+\/:[^/]+)/g)].map(([, key = '']) => key)
  const sent = SENT[operationId]
  return [
    ...keys
      .filter((key) => TARGETS[key] === undefined)
      .map((key) => `add '${key}' to TARGETS: the id of a real one at a site, and one that does not exist`),
    ...(body !== undefined && permission !== 'none' && !bodyOptional && sent?.body === undefined
      ? [`add a body to SENT.${operationId}: one about a site that passes the schema`]
      : []),
    ...((query?.required ?? []).length > 0 && permission !== 'none' && sent?.query === undefined
      ? [`add a query to SENT.${operationId}: one about a site that passes the schema`]
      : []),
  ]
}
