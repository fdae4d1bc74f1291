/**
 * Every route of the core × every caller: what each answers is foretold from its declaration alone. A new route is walked as
 * well; one whose path or body names something that the tables below do not know fails with words that say what to add.
 */

import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Route } from '../../../cloud/api/http/route.ts'
import { type Caller, hasRole, type Role, withinScopes } from '../../../cloud/identity/identity.ts'
import { includesSite } from '../../../cloud/registry/site-scope.ts'
import { callerNamed } from '../../support/fixed-callers.ts'
import { conversationOf, DEAD_LETTER, loginOf, marksOf, type Place, T0 } from '../../support/two-sites.ts'
import { startWalkCore, type WalkCore } from '../../support/walk-core.ts'

const ROLES = ['viewer', 'operator', 'engineer', 'admin', 'auditor']
const CREDENTIALS = [
  ...ROLES.flatMap((role) => [`${role}.1`, `${role}.2`, `${role}.all`]),
  // Sees the site, and has the role elsewhere.
  ...['operator', 'engineer', 'admin'].map((role) => `viewer.1+${role}.2`),
  ...['nobody', 'key+engineer.1', 'key+admin.all', 'poorkey+admin.all'],
]

/** Requests at one time: fewer than exports that may be. */
const AT_ONCE = 6

const from = new Date(T0).toISOString()
const to = new Date(T0 + 60_000).toISOString()
const newRule = { name: 'Hot', severity: 'INFO', field: 'tempC', comparison: 'GT', threshold: 80 }

interface Target {
  /** What the path parameter is at a site. */
  readonly at: (place: Place, caller: Caller) => string | number
  /** What it may look like, and is not anywhere. */
  readonly missing: string | number
  /** Default: whoever is a viewer at the site. `members`: whoever is in it, as the caller is in its own, and nobody else. */
  readonly seenBy?: Role | 'members'
}

const isProgram = ({ kind }: Caller): boolean => kind === 'api-key'

function ownSite(caller: Caller): number {
  const sites = caller.sites('engineer')
  return sites === 'all' ? 1 : ([...sites][0] ?? 1)
}

/** By the folder of the path and the name of the parameter: IDs of real things at a site, so that a guessed one is tried. */
const TARGETS: Readonly<Record<string, Target>> = {
  'sites/:id': { at: ({ siteId }) => siteId, missing: 77 },
  'gateways/:id': { at: ({ gatewayId }) => gatewayId, missing: 'gw-none' },
  'devices/:id': { at: ({ deviceId }) => deviceId, missing: 7_777 },
  'commands/:id': { at: ({ commandId }) => commandId, missing: 'cmd-00000000' },
  'tasks/:id': { at: ({ taskId }) => taskId, missing: '0'.repeat(24) },
  'alerts/:id': { at: ({ alertId }) => alertId, missing: `alert-${'0'.repeat(24)}` },
  'alert-rules/:id': { at: ({ ruleId }) => ruleId, missing: `rule-${'0'.repeat(16)}` },
  'dead-letters/:id': { at: () => DEAD_LETTER, missing: 'device-telemetry-dlt.0.7' },
  'users/:userId': { at: ({ userId }) => userId, missing: 'nobody-at-all', seenBy: 'auditor' },
  'logins/:id': { at: (_, { id }) => loginOf(id), missing: '0'.repeat(32) },
  'api-keys/:id': { at: ({ apiKeyId }) => apiKeyId, missing: '0'.repeat(16), seenBy: 'auditor' },
  'approvals/:id': { at: ({ approvalId }) => approvalId, missing: `apr-${'0'.repeat(16)}` },
  'enrolment-tokens/:tokenId': { at: ({ tokenId }) => tokenId, missing: '0'.repeat(16) },
  'certificates/:serial': { at: ({ siteId }) => String(siteId), missing: 'dead' },
  'conversations/:id': {
    at: (_, { id }) => conversationOf(id).conversationId,
    missing: `conv-${'0'.repeat(24)}`,
    seenBy: 'members',
  },
  'messages/:messageId': { at: (_, { id }) => conversationOf(id).messageId, missing: `msg-${'0'.repeat(24)}` },
  'members/:userId': { at: () => 'colleague', missing: 'nobody-at-all' },
  'notifications/:id': { at: (_, { id }) => core.notifications.get(id) ?? '', missing: `ntf-${'0'.repeat(24)}` },
}

interface Sent {
  readonly body?: (place: Place, caller: Caller) => unknown
  readonly query?: (place: Place) => string
  /** The answer for what the caller may not see, where no path names it. Default 404. */
  readonly hidden?: number
  /** Who may not, although the role is theirs: that is 403. */
  readonly refused?: (caller: Caller) => boolean
  /** It makes what the path names where there is none: that a name is taken cannot be hidden from who may take it. */
  readonly names?: true
  /** Made for each request that is allowed, since it is gone afterwards. */
  readonly fresh?: (place: Place) => Promise<Partial<Place>>
}

/** By operation: bodies and queries about a site that pass the schema. */
const SENT: Readonly<Record<string, Sent>> = {
  createSite: { body: () => ({ id: 900 }) },
  changeSite: { body: ({ siteName }) => ({ name: siteName }) },
  createGateway: { body: () => ({ id: 'gw-new' }) },
  createDevice: { body: ({ siteId }) => ({ siteId, serialNumber: 'INV-new' }), hidden: 422 },
  changeDevice: { body: () => ({ name: 'Roof' }) },
  createCommand: { body: ({ serialNumber }) => ({ device_id: serialNumber, name: 'REBOOT' }), hidden: 422 },
  createTask: { body: ({ serialNumber }) => ({ device_ids: [serialNumber], command_type: 'REBOOT' }), hidden: 422 },
  createAlertRule: { body: ({ siteId }) => ({ ...newRule, siteId }), hidden: 422 },
  changeAlertRule: { body: () => ({ name: 'Hotter' }) },
  deleteAlertRule: { fresh: async ({ siteId }) => ({ ruleId: await makeRule(siteId) }) },
  testAlertRule: { body: ({ deviceId }) => ({ deviceId, from, to }) },
  replayDeadLetters: { body: () => ({ ids: ['device-telemetry-dlt.0.7'] }) },
  changeNotificationPreferences: { body: () => ({ subscribed: false }) },
  createUser: { body: () => ({ id: 'user-new' }) },
  changeUser: { body: () => ({ name: 'Somebody' }) },
  changeGrants: { body: ({ siteId }) => ({ give: [{ role: 'viewer', siteId }] }) },
  createApiKey: {
    body: (_, caller) => ({
      name: 'new',
      scopes: ['telemetry:read'],
      grants: [{ role: 'viewer', siteId: ownSite(caller) }],
    }),
    refused: isProgram,
  },
  makePasswordLink: { refused: isProgram },
  revokeApiKey: { refused: (caller) => !hasRole(caller, 'admin') },
  approve: { refused: isProgram },
  rejectApproval: { refused: isProgram },
  withdrawApproval: { refused: () => true },
  createEnrolmentToken: { body: () => ({}), names: true },
  changeGatewaySites: { body: ({ siteId }) => ({ siteIds: [siteId] }) },
  beginConversation: { body: ({ siteId }) => ({ kind: 'site', siteId }), hidden: 422, refused: isProgram },
  changeConversation: { body: () => ({ archived: false }) },
  addConversationMembers: { body: ({ userId }) => ({ userIds: [userId] }) },
  changeConversationMember: { body: () => ({ role: 'member' }) },
  sendChatMessage: { body: () => ({ content: 'Cold' }) },
  searchChatMessages: { query: () => 'search=hot' },
  editChatMessage: { body: () => ({ content: 'Hotter' }) },
  readConversation: { body: () => ({ position: 1 }) },
  // It is deleted by then: the walk has been at the route that does it.
  listChatMessageRevisions: { refused: (caller) => caller.sites('auditor') !== 'all' },
  getTelemetrySeries: {
    query: ({ deviceId }) => `deviceId=${deviceId}&field=powerKw&from=${from}&to=${to}`,
    hidden: 404,
  },
  exportTelemetry: { query: ({ siteId }) => `siteId=${siteId}&format=csv&from=${from}&to=${to}`, hidden: 404 },
  getCompletenessOfDevice: { query: () => `from=${from}&to=${to}` },
  getCompletenessOfSite: { query: () => `from=${from}&to=${to}` },
}

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
  const sent = SENT[route.operationId]
  const there = isAllowed && sent?.fresh !== undefined ? { ...place, ...(await sent.fresh(place)) } : place
  const path = route.path.replaceAll(/([^/]+)\/(:[^/]+)/g, (_, folder: string, name: string) => {
    const { at, missing } = TARGETS[`${folder}/${name}`] as Target
    const isOwn = name === ':userId' && route.permission !== 'none' && route.permission.scope === 'self'
    return `${folder}/${encodeURIComponent(isOwn ? caller.id : isMissing ? missing : at(there, caller))}`
  })
  const query = sent?.query === undefined ? '' : `?${sent.query(there)}`
  const body = sent?.body === undefined ? null : JSON.stringify(sent.body(there, caller))
  const response = await fetch(`${core.url}${path}${query}`, {
    method: route.method,
    headers: {
      ...(credential === null ? {} : { authorization: `Bearer ${credential}` }),
      ...(body === null ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === null ? {} : { body }),
  })
  return { status: response.status, text: await response.text() }
}

function withoutIds(text: string, ids: readonly (string | number)[]): string {
  const named = ids.map((id) => RegExp.escape(String(id))).join('|')
  return text.replaceAll(new RegExp(`(?<!\\w)(${named})(?!\\w)`, 'g'), '…')
}

function idsOf({ path }: Route, place: Place, caller: Caller, isMissing: boolean): (string | number)[] {
  const targets = [...path.matchAll(/([^/]+\/:[^/]+)/g)].map(([, key = '']) => TARGETS[key] as Target)
  return targets.map(({ at, missing }) => (isMissing ? missing : at(place, caller)))
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

async function makeRule(siteId: number): Promise<string> {
  const response = await fetch(`${core.url}/api/v1/alert-rules`, {
    method: 'POST',
    headers: { authorization: 'Bearer admin.all', 'content-type': 'application/json' },
    body: JSON.stringify({ ...newRule, siteId }),
  })
  return ((await response.json()) as { id: string }).id
}
