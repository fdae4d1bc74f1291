/**
 * Where the permission of the routes of alert rules is asked for. A rule of no site, of a type or of everything, is seen by
 * whoever sees anything and changed by who may at every site. What a request wants a rule to be about is judged like what the
 * rule is about; a site or a device that the caller does not see is one that does not exist, which the handler says.
 */

import type { AlertRule, AlertRules, NewAlertRule, RuleScope } from '../../alerts/alerts.ts'
import type { Caller } from '../../identity/identity.ts'
import { includesSite, includesSites, NO_SITE } from '../../registry/site-scope.ts'
import { notFound } from '../http/problem.ts'
import type { SiteRule } from '../http/route.ts'
import type { Concern } from '../permission.ts'

interface Naming {
  readonly params: { readonly id: string }
  readonly caller: Caller
}

type Rules = Pick<AlertRules, 'get' | 'sitesOf' | 'scopeAfter'>

/** What may be seen of a rule decides; besides, the role is needed at the sites that `besides` tells. */
function ofRule<C extends Naming>(
  rules: Rules,
  needs: (rule: AlertRule, sites: readonly number[], call: C) => Promise<Iterable<number>> | Iterable<number>,
): SiteRule<C> {
  return {
    async of(call): Promise<Concern> {
      const rule = await rules.get(call.params.id)
      if (rule === null) return null
      const sites = await sitesOf(rules, rule.scope)
      const seen = isOfNoSite(rule.scope) || includesSites(call.caller.sites('viewer'), sites)
      return { needs: seen ? await needs(rule, sites, call) : [], seen }
    },
    missing: ({ params }) => notFound('alert rule', params.id),
  }
}

export function ruleSeen(rules: Rules): SiteRule<Naming> {
  return ofRule(rules, () => [])
}

export function ruleDeleted(rules: Rules): SiteRule<Naming> {
  return ofRule(rules, (_, sites) => sites)
}

export function ruleChanged(rules: Rules): SiteRule<Naming & { readonly body: Partial<NewAlertRule> }> {
  return ofRule(rules, async (rule, sites, { body, caller }) => {
    return [...sites, ...(await wanted(rules, rules.scopeAfter(rule, body), caller))]
  })
}

export function ruleCreated(
  rules: Rules,
): SiteRule<{ readonly body: Pick<NewAlertRule, 'siteId' | 'deviceId'>; readonly caller: Caller }> {
  return {
    async of({ body: { siteId = null, deviceId = null }, caller }) {
      return { needs: await wanted(rules, { siteId, deviceId, deviceType: null }, caller), seen: true }
    },
    missing: () => notFound('alert rule', ''),
  }
}

/** Nothing is changed: a rule of no site may be tried by who may at the device whose readings are looked at. */
export function ruleTried(
  rules: Rules,
): SiteRule<Naming & { readonly body: { readonly deviceId?: number; readonly changes?: Partial<NewAlertRule> } }> {
  return ofRule(rules, async (rule, sites, { body, caller }) => {
    const { deviceId } = rules.scopeAfter(rule, body.changes ?? {})
    const device: RuleScope = { siteId: null, deviceType: null, deviceId: body.deviceId ?? deviceId }
    const looked = device.deviceId === null ? [] : await wanted(rules, device, caller)
    return [...(isOfNoSite(rule.scope) ? [] : sites), ...looked]
  })
}

function isOfNoSite({ siteId, deviceId }: RuleScope): boolean {
  return siteId === null && deviceId === null
}

async function sitesOf(rules: Rules, scope: RuleScope): Promise<readonly number[]> {
  const sites = isOfNoSite(scope) ? [] : await rules.sitesOf(scope)
  return sites.length === 0 ? [NO_SITE] : sites
}

async function wanted(rules: Rules, scope: RuleScope, caller: Caller): Promise<readonly number[]> {
  if (isOfNoSite(scope)) return [NO_SITE]
  return (await rules.sitesOf(scope)).filter((siteId) => includesSite(caller.sites('viewer'), siteId))
}
