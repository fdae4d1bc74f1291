/**
 * Who is told of something, and what: nobody hears of a site that they may not see. What is about several sites comes in a
 * shorter form to who sees some of them only. Pure.
 */

import { includesSite, includesSites, type SiteScope } from '../registry/site-scope.ts'
import type { NewNotification } from './inbox-store.ts'
import type { NotificationType } from './notice.ts'
import { notificationId, type Telling } from './notification.ts'
import { isTold, type Preferences } from './preferences.ts'
import { isQuiet } from './quiet-hours.ts'

/** Sites named in the shorter form. */
const SITES_NAMED_MAX = 10

const IN_PART: Readonly<Partial<Record<NotificationType, string>>> = {
  DEVICE_STATUS: 'Several devices changed their status',
  TELEMETRY_ALERT: 'Several alerts opened or closed',
  GATEWAY_OFFLINE: 'Several gateways went offline or came back',
}

/**
 * One for each user who is to be told.
 * @param seen by user, the sites that they may see; who is left out sees all.
 */
export function rowsOf(
  telling: Telling,
  preferences: ReadonlyMap<string, Preferences>,
  seen: ReadonlyMap<string, SiteScope>,
  nowMs: number,
): NewNotification[] {
  const { audiences, key, type, severity, siteId, atMs } = telling
  return [...preferences].flatMap(([userId, wanted]) => {
    const sees = seen.get(userId) ?? 'all'
    if (!audiences.some((audience) => isTold(userId, wanted, audience, sees))) return []
    return [
      {
        id: notificationId(key, userId),
        user_id: userId,
        type,
        severity,
        ...textsFor(telling, sees),
        site_id: siteId,
        quiet: isQuiet(wanted.quietHours, severity, nowMs) ? 1 : 0,
        at_ms: atMs,
        created_at_ms: nowMs,
      },
    ]
  })
}

/** Users who may be told of some of these, as far as their preferences go. */
export function mayBeTold(tellings: readonly Telling[], preferences: ReadonlyMap<string, Preferences>): string[] {
  const audiences = tellings.flatMap((telling) => telling.audiences)
  return [...preferences].flatMap(([userId, wanted]) => {
    return audiences.some((audience) => isTold(userId, wanted, audience)) ? [userId] : []
  })
}

function textsFor(telling: Telling, sees: SiteScope): Pick<NewNotification, 'title' | 'content' | 'related_entity_id'> {
  const { audiences, title, content, relatedEntityId, toldInPart } = telling
  const whole = { title, content, related_entity_id: relatedEntityId }
  const siteIds = [...new Set(audiences.flatMap((audience) => audience.siteIds ?? []))]
  // Of what is about some sites and of what is about none together, only who sees all knows that they see it.
  const isMixed = siteIds.length > 0 && audiences.some((audience) => audience.siteIds === null)
  if (sees === 'all' || (includesSites(sees, siteIds) && !isMixed)) return whole
  if (toldInPart !== undefined) return { ...toldInPart, related_entity_id: relatedEntityId }
  const own = siteIds.filter((siteId) => includesSite(sees, siteId)).sort((a, b) => a - b)
  const more = own.length > SITES_NAMED_MAX ? ` and ${own.length - SITES_NAMED_MAX} more` : ''
  const what = IN_PART[telling.type] ?? 'Several things happened'
  const where = `${own.length === 1 ? 'site' : 'sites'} ${own.slice(0, SITES_NAMED_MAX).join(', ')}${more}`
  return { title: what, content: `${what}, at ${where} among others.`, related_entity_id: null }
}
