/** Requests for every route of a core: the ids of real things for its path, and bodies and queries that pass its schemas. */

import type { Route } from '../../cloud/api/http/route.ts'
import { type Caller, hasRole, type Role } from '../../cloud/identity/identity.ts'
import { ACTIVITY, conversationOf, DEAD_LETTER, loginOf, type Place, T0 } from './two-sites.ts'
import type { WalkCore } from './walk-core.ts'

const from = new Date(T0).toISOString()
const to = new Date(T0 + 60_000).toISOString()
const newRule = { name: 'Hot', severity: 'INFO', field: 'tempC', comparison: 'GT', threshold: 80 }

export interface Target {
  /** What the path parameter is at a site. */
  readonly at: (place: Place, caller: Caller, core: WalkCore) => string | number
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
export const TARGETS: Readonly<Record<string, Target>> = {
  'sites/:id': { at: ({ siteId }) => siteId, missing: 77 },
  'gateways/:id': { at: ({ gatewayId }) => gatewayId, missing: 'gw-none' },
  'devices/:id': { at: ({ deviceId }) => deviceId, missing: 7_777 },
  'commands/:id': { at: ({ commandId }) => commandId, missing: 'cmd-00000000' },
  'tasks/:id': { at: ({ taskId }) => taskId, missing: '0'.repeat(24) },
  'alerts/:id': { at: ({ alertId }) => alertId, missing: `alert-${'0'.repeat(24)}` },
  'alert-rules/:id': { at: ({ ruleId }) => ruleId, missing: `rule-${'0'.repeat(16)}` },
  'activities/:eventId': { at: () => ACTIVITY, missing: 'evt_none', seenBy: 'auditor' },
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
  'notifications/:id': { at: (_, { id }, core) => core.notifications.get(id) ?? '', missing: `ntf-${'0'.repeat(24)}` },
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
  readonly fresh?: (place: Place, core: WalkCore) => Promise<Partial<Place>>
}

/** By operation: bodies and queries about a site that pass the schema. */
export const SENT: Readonly<Record<string, Sent>> = {
  createSite: { body: () => ({ id: 900 }) },
  changeSite: { body: ({ siteName }) => ({ name: siteName }) },
  createGateway: { body: () => ({ id: 'gw-new' }) },
  createDevice: { body: ({ siteId }) => ({ siteId, serialNumber: 'INV-new' }), hidden: 422 },
  changeDevice: { body: () => ({ name: 'Roof' }) },
  createCommand: { body: ({ serialNumber }) => ({ device_id: serialNumber, name: 'REBOOT' }), hidden: 422 },
  createTask: { body: ({ serialNumber }) => ({ device_ids: [serialNumber], command_type: 'REBOOT' }), hidden: 422 },
  createAlertRule: { body: ({ siteId }) => ({ ...newRule, siteId }), hidden: 422 },
  changeAlertRule: { body: () => ({ name: 'Hotter' }) },
  deleteAlertRule: { fresh: async ({ siteId }, core) => ({ ruleId: await makeRule(siteId, core) }) },
  testAlertRule: { body: ({ deviceId }) => ({ deviceId, from, to }) },
  recordActivities: { body: ({ siteId }) => ({ activityType: 'page_view', siteId }), hidden: 422 },
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

export interface WalkRequest {
  readonly url: string
  readonly method: Route['method']
  readonly headers: Record<string, string>
  readonly body: string | null
}

/**
 * The request of a caller for what is at a place.
 * @param what.isAllowed whether it is to go through, which may use something up.
 * @param what.isMissing for what is not there.
 */
export async function walkRequest(
  core: WalkCore,
  route: Route,
  what: {
    readonly place: Place
    readonly caller: Caller
    readonly credential: string | null
    readonly isAllowed?: boolean
    readonly isMissing?: boolean
  },
): Promise<WalkRequest> {
  const { place, caller, credential, isAllowed = false, isMissing = false } = what
  const sent = SENT[route.operationId]
  const there = isAllowed && sent?.fresh !== undefined ? { ...place, ...(await sent.fresh(place, core)) } : place
  const path = route.path.replaceAll(/([^/]+)\/(:[^/]+)/g, (_, folder: string, name: string) => {
    const { at, missing } = TARGETS[`${folder}/${name}`] as Target
    const isOwn = name === ':userId' && route.permission !== 'none' && route.permission.scope === 'self'
    return `${folder}/${encodeURIComponent(isOwn ? caller.id : isMissing ? missing : at(there, caller, core))}`
  })
  const query = sent?.query === undefined ? '' : `?${sent.query(there)}`
  const body = sent?.body === undefined ? null : JSON.stringify(sent.body(there, caller))
  return {
    url: `${core.url}${path}${query}`,
    method: route.method,
    headers: {
      ...(credential === null ? {} : { authorization: `Bearer ${credential}` }),
      ...(body === null ? {} : { 'content-type': 'application/json' }),
    },
    body,
  }
}

async function makeRule(siteId: number, core: WalkCore): Promise<string> {
  const response = await fetch(`${core.url}/api/v1/alert-rules`, {
    method: 'POST',
    headers: { authorization: 'Bearer admin.all', 'content-type': 'application/json' },
    body: JSON.stringify({ ...newRule, siteId }),
  })
  return ((await response.json()) as { id: string }).id
}
