/** Two sites with one of everything at each, for tests of who sees and does what where. */

import { createHash } from 'node:crypto'
import { AlertRules } from '../../cloud/alerts/alerts.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import { Tasks } from '../../cloud/orchestration/orchestration.ts'
import { systemClock } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import { systemRandom } from '../../shared/random.ts'
import { COMMAND_SETTINGS, commandCore } from './command-core.ts'

export const SITES = [1, 2] as const

export interface Place {
  readonly siteId: number
  readonly siteName: string
  readonly gatewayId: string
  readonly deviceId: number
  readonly serialNumber: string
  readonly commandId: string
  readonly taskId: string
  readonly ruleId: string
  readonly alertId: string
  /** A viewer of the site. */
  readonly userId: string
  /** Of `somebody`, as what follows. */
  readonly apiKeyId: string
  readonly approvalId: string
  readonly tokenId: string
}

export const T0 = Date.UTC(2026, 0, 1)
export const ACTIVITY = 'evt_seeded'
export const DEAD_LETTER = 'device-telemetry-dlt.0.0'
const TASK_SETTINGS = { devicesMax: 1_000, concurrency: 10, leaseMs: 10_000 }

/** A serial number that each site has beside its own device; `gw-both` is the gateway of those. */
export const TWIN = 'MTR-TWIN'

export async function seedTwoSites(database: DatabaseHandle): Promise<readonly [Place, Place]> {
  const { registry, outbox, commands } = commandCore(database)
  const tools = { clock: systemClock, random: systemRandom }
  const services = { database, outbox, registry, ...tools }
  const tasks = new Tasks({ ...services, settings: { ...COMMAND_SETTINGS, ...TASK_SETTINGS } })
  const notifier = { notify: async () => undefined, nudge: () => undefined }
  const rules = new AlertRules({ database, registry, notifier, rulesMax: 1_000, ...tools })
  const places: Place[] = []
  for (const siteId of SITES) {
    const name = siteId === 1 ? 'north' : 'south'
    const [siteName, gatewayId, serialNumber] = [`Site of the ${name}`, `gw-${name}`, `INV-${name}`]
    await registry.sites.create({ id: siteId, name: siteName })
    for (const id of [gatewayId, 'gw-both']) await registry.gateways.create({ id }).catch(() => undefined)
    await registry.load('gw-both', [{ siteId, serialNumber: TWIN }])
    const [device] = await registry.load(gatewayId, [{ siteId, serialNumber }])
    const deviceId = device?.deviceId as number
    const command = await commands.create({ deviceId: serialNumber, name: 'REBOOT' })
    const choice = { commandType: 'REBOOT', deviceIds: [serialNumber], requestedBy: 'somebody' }
    const task = await tasks.create(choice)
    const condition = { field: 'powerKw', comparison: 'GT', threshold: 1 } as const
    const rule = await rules.create({ name: `Rule of the ${name}`, severity: 'INFO', siteId, ...condition })
    const place = { siteId, siteName, gatewayId, deviceId, serialNumber, commandId: command.id, taskId: task.taskId }
    const digits = (count: number) => String(siteId).repeat(count)
    const found = { ruleId: rule.id, alertId: `alert-${digits(24)}` }
    const people = {
      userId: `user-${name}`,
      apiKeyId: digits(16),
      approvalId: `apr-${digits(16)}`,
      tokenId: digits(16),
    }
    places.push({ ...place, ...found, ...people })
    await seedPeople(database, places.at(-1) as Place)
    await seedRows(database, places.at(-1) as Place, JSON.stringify(rule))
  }
  return places as unknown as [Place, Place]
}

async function seedRows({ kysely }: DatabaseHandle, place: Place, rule: string): Promise<void> {
  const { siteId, deviceId, serialNumber, gatewayId, alertId, ruleId } = place
  const alert = {
    ...{ id: alertId, rule_id: ruleId, rule_name: 'Hot', severity: 'INFO', site_id: siteId, device_id: deviceId },
    ...{ serial_number: serialNumber, state: 'OPEN', past: 0, since_ms: T0, opened_at_ms: T0, value_opened: 2 },
    ...{ value_worst: 2, created_at_ms: T0, updated_at_ms: T0, rule },
  }
  await kysely.insertInto('alerts').values(alert).execute()
  const latest = { device_id: deviceId, site_id: siteId, serial_number: serialNumber, telemetry: '{}' }
  await kysely
    .insertInto('latest_values')
    .values({ ...latest, event_at_ms: T0, received_at_ms: T0 })
    .execute()
  const gap = { gateway_id: gatewayId, epoch: 'e', lane: 'telemetry', first_sequence: 1, record_count: 1, reason: 'x' }
  await kysely
    .insertInto('gateway_gaps')
    .values({ ...gap, at_ms: T0, recorded_at_ms: T0, from_ms: null, to_ms: null })
    .execute()
  const outage = { gateway_id: gatewayId, since_ms: T0, noticed_at_ms: T0 + 1, ended_at_ms: T0 + 2 }
  await kysely.insertInto('gateway_outages').values(outage).execute()
}

async function seedPeople({ kysely }: DatabaseHandle, place: Place): Promise<void> {
  const { siteId, gatewayId, userId, apiKeyId, approvalId, tokenId } = place
  const nowMs = Math.round(systemClock.wallMs())
  const made = { created_by: 'somebody', created_at_ms: nowMs }
  const viewer = { role: 'viewer', site_id: siteId }
  await kysely
    .insertInto('users')
    .values({ id: userId, status: 'active', ...times(nowMs) })
    .execute()
  await kysely
    .insertInto('user_grants')
    .values({ user_id: userId, ...viewer })
    .execute()
  const key = { id: apiKeyId, name: 'key', secret_hash: `${siteId}`, scopes: '["*:read"]', ...made }
  await kysely.insertInto('api_keys').values(key).execute()
  await kysely
    .insertInto('api_key_grants')
    .values({ key_id: apiKeyId, ...viewer })
    .execute()
  const token = { id: tokenId, secret_hash: `${siteId}`, gateway_id: gatewayId, ...made, expires_at_ms: nowMs + DAY_MS }
  await kysely.insertInto('enrolment_tokens').values(token).execute()
  const certificate = {
    fingerprint: `f${siteId}`,
    serial: String(siteId),
    gateway_id: gatewayId,
    key_hash: 'k',
    certificate_pem: '',
    ...LASTING,
  }
  await kysely
    .insertInto('gateway_certificates')
    .values({ ...certificate, issued_for: 'enrolment' } as never)
    .execute()
  const approval = { id: approvalId, kind: 'command', command_type: 'REBOOT', request: '{}', requested_by: 'somebody' }
  await kysely
    .insertInto('approvals')
    .values({ ...approval, created_at_ms: nowMs, expires_at_ms: nowMs + DAY_MS, state: 'PENDING' })
    .execute()
  await kysely.insertInto('approval_sites').values({ approval_id: approvalId, site_id: siteId }).execute()
}

const LASTING = { issued_at_ms: T0, not_before_ms: T0, not_after_ms: T0 + 3_650 * DAY_MS }
const times = (nowMs: number) => ({ created_at_ms: nowMs, updated_at_ms: nowMs })

/** Of no site, as all of them are: for engineers over every site. */
export async function seedDeadLetter({ kysely }: DatabaseHandle): Promise<void> {
  const nowMs = Math.round(systemClock.wallMs())
  const letter = {
    ...{ id: DEAD_LETTER, topic: 'device-telemetry-dlt', partition: 0, record_offset: 0, key: 'INV-north' },
    ...{ original_topic: 'device-telemetry', source: 'ingest', code: 'NOT_JSON', message: 'why', retry_count: 0 },
    ...{ failed_at_ms: nowMs, created_at_ms: nowMs, part: 1, parts: 1, set_id: null, replayed_at_ms: null },
    ...{ replays: 0, claim: null, claimed_until_ms: null, value_bytes: 0, timestamp_ms: nowMs, value: null },
    envelope: '{"key":"INV-north","headers":{}}',
  }
  await kysely.insertInto('dead_letters').values(letter).execute()
}

/** Of somebody at no site, on no chain. */
export async function seedActivity({ kysely }: DatabaseHandle): Promise<void> {
  const entry = {
    ...{ event_id: ACTIVITY, user_id: 'somebody', activity_type: 'page_view', at_ms: T0, stored_at_ms: T0 },
    ...{ day: '2026-01-01', place: 1, hash: '0'.repeat(64), version: '1.0', metadata: '{}' },
  }
  await kysely.insertInto('activity_logs').values(entry).execute()
}

/** One that the user was told at site 1; resolves with its id. */
export async function seedNotification({ kysely }: DatabaseHandle, userId: string): Promise<string> {
  const id = `ntf-${createHash('sha256').update(userId).digest('hex').slice(0, 24)}`
  const nowMs = Math.round(systemClock.wallMs())
  const told = { id, user_id: userId, type: 'TELEMETRY_ALERT', severity: 'INFO', title: 'Hot', content: 'It is hot.' }
  const more = { related_entity_id: null, site_id: 1, quiet: 0, read_at_ms: null, at_ms: nowMs, created_at_ms: nowMs }
  await kysely
    .insertInto('notifications')
    .values({ ...told, ...more })
    .execute()
  return id
}

/** The login of a user, of which there is one. */
export function loginOf(userId: string): string {
  return createHash('sha256').update(userId).digest('hex').slice(0, 32)
}

export async function seedLogin({ kysely }: DatabaseHandle, userId: string): Promise<void> {
  const nowMs = Math.round(systemClock.wallMs())
  const until = { access_expires_at_ms: nowMs + DAY_MS, expires_at_ms: nowMs + DAY_MS }
  const login = {
    id: loginOf(userId),
    user_id: userId,
    method: 'password',
    created_at_ms: nowMs,
    refreshed_at_ms: nowMs,
  }
  await kysely
    .insertInto('login_sessions')
    .values({ ...login, ...until })
    .execute()
}

/** The group of a user, who owns it and has said something in it; `colleague` is the other member. */
export function conversationOf(userId: string): { readonly conversationId: string; readonly messageId: string } {
  const digits = createHash('sha256').update(userId).digest('hex').slice(0, 24)
  return { conversationId: `conv-${digits}`, messageId: `msg-${digits}` }
}

export async function seedConversation({ kysely }: DatabaseHandle, userId: string): Promise<void> {
  const { conversationId, messageId } = conversationOf(userId)
  const nowMs = Math.round(systemClock.wallMs())
  const group = { id: conversationId, kind: 'group', title: 'Group', last_revision: 1, created_by: userId }
  await kysely
    .insertInto('conversations')
    .values({ ...group, ...times(nowMs) } as never)
    .execute()
  const marks = { joined_at_ms: nowMs, read_position: 0, delivered_position: 0, notified_position: 0 }
  for (const [user_id, role] of [[userId, 'owner'] as const, ['colleague', 'member'] as const]) {
    const member = { conversation_id: conversationId, user_id, role, ...marks }
    await kysely.insertInto('conversation_members').values(member).execute()
  }
  const message = { id: messageId, conversation_id: conversationId, kind: 'MESSAGE', position: 1, revision: 1 }
  const said = { sender_id: userId, content: 'Hot', search_text: 'hot', sent_at_ms: nowMs }
  await kysely
    .insertInto('chat_messages')
    .values({ ...message, ...said } as never)
    .execute()
}

/** What says of an answer that it tells of the place. */
export function marksOf(place: Place): string[] {
  const { siteName, gatewayId, serialNumber, commandId, taskId, ruleId, alertId } = place
  const { userId, apiKeyId, approvalId, tokenId } = place
  return [siteName, gatewayId, serialNumber, commandId, taskId, ruleId, alertId, userId, apiKeyId, approvalId, tokenId]
}
