/** Alert rules over REST. */

import { type Static, Type } from '@sinclair/typebox'
import {
  type AlertRule,
  type AlertRules,
  AlertRulesLimitError,
  type NewAlertRule,
  type RuleTrials,
  type WithAlertRule,
} from '../../alerts/alerts.ts'
import { notFound, Problem } from '../http/problem.ts'
import { defineRoute, type Reply, type Route } from '../http/route.ts'
import {
  AlertRuleChangesSchema,
  AlertRuleIdSchema,
  AlertRuleSchema,
  AlertRuleTestResultSchema,
  AlertRuleTestSchema,
  AlertSeveritySchema,
  alertRuleBody,
  alertRuleTestBody,
  NewAlertRuleSchema,
} from '../schemas/alert-rule.ts'
import { closed, DeviceIdSchema, instant, PAGE_QUERY, pageBody, pageSchema, SiteIdSchema } from '../schemas/common.ts'
import { DeviceTypeSchema } from '../schemas/device.ts'
import { ruleChanged, ruleCreated, ruleDeleted, ruleSeen, ruleTried } from './alert-rule-sites.ts'

export interface AlertRuleRoutesOptions {
  readonly rules: Pick<AlertRules, 'create' | 'get' | 'list' | 'update' | 'delete' | 'sitesOf' | 'scopeAfter'>
  /** Without it rules cannot be tried. */
  readonly trials?: Pick<RuleTrials, 'run'>
}

const tag = 'alerts'
const RuleParams = Type.Object({ id: AlertRuleIdSchema })

export function alertRuleRoutes({ rules, trials }: AlertRuleRoutesOptions): Route[] {
  return [...ruleRoutes(rules), ...(trials === undefined ? [] : [trialRoute(rules, trials)])]
}

function ruleRoutes(rules: AlertRuleRoutesOptions['rules']): Route[] {
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/alert-rules',
        operationId: 'listAlertRules',
        tag,
        summary: 'Alert rules, the newest first, all of them or those that match every criterion given',
        permission: { role: 'viewer', scope: 'site' },
        sites: 'listed',
        query: Type.Object(
          {
            ...PAGE_QUERY,
            enabled: Type.Optional(Type.Boolean()),
            severity: Type.Optional(AlertSeveritySchema),
            siteId: Type.Optional(SiteIdSchema),
            deviceType: Type.Optional(DeviceTypeSchema),
            deviceId: Type.Optional(DeviceIdSchema),
          },
          closed,
        ),
        responses: { 200: { description: 'A page of alert rules', schema: pageSchema(AlertRuleSchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query, caller }) => {
        const page = await rules.list({ ...query, sites: caller.sites('viewer') })
        return { status: 200, body: pageBody(page, alertRuleBody) }
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/alert-rules',
        operationId: 'createAlertRule',
        tag,
        summary: 'Watch a reading of a device, of a site, of a type, or of every device',
        description:
          'An alert opens when the comparison has held for durationSeconds, and closes when a value is back by the ' +
          'hysteresis. Each is told once. Readings that waited in a gateway for longer than alerts.freshMs open none; what ' +
          'they would have opened is recorded as past.',
        permission: { role: 'engineer', scope: 'site' },
        sites: ruleCreated(rules),
        body: NewAlertRuleSchema,
        idempotent: true,
        responses: { 201: { description: 'The rule', schema: AlertRuleSchema } },
        problems: ['CONFLICT', 'UNAVAILABLE'],
      },
      async ({ body, remember, caller }) => {
        const also: WithAlertRule = async (stored, transaction) => await remember?.(created(stored), transaction)
        const rule = await rules.create(toNewRule(body), also, caller.sites('viewer')).catch((error: unknown) => {
          throw error instanceof AlertRulesLimitError ? conflict(error) : error
        })
        return created(rule)
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/alert-rules/:id',
        operationId: 'getAlertRule',
        tag,
        summary: 'One alert rule',
        permission: { role: 'viewer', scope: 'site' },
        sites: ruleSeen(rules),
        params: RuleParams,
        responses: { 200: { description: 'The rule', schema: AlertRuleSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => {
        const rule = await rules.get(id)
        if (rule === null) throw notFound('alert rule', id)
        return { status: 200, body: alertRuleBody(rule) }
      },
    ),
    defineRoute(
      {
        method: 'PATCH',
        path: '/api/v1/alert-rules/:id',
        operationId: 'changeAlertRule',
        tag,
        summary: 'Change, disable or enable an alert rule',
        description:
          'When the rule judges differently from then on, its open alerts close with one notice, and every device begins anew. ' +
          'Another name, other recipients or another escalation are for the alerts that open from then on.',
        permission: { role: 'engineer', scope: 'site' },
        sites: ruleChanged(rules),
        params: RuleParams,
        body: AlertRuleChangesSchema,
        responses: { 200: { description: 'The rule as it is now', schema: AlertRuleSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, body, caller }) => {
        const rule = await rules.update(id, toNewRule(body), caller.sites('viewer'))
        if (rule === null) throw notFound('alert rule', id)
        return { status: 200, body: alertRuleBody(rule) }
      },
    ),
    defineRoute(
      {
        method: 'DELETE',
        path: '/api/v1/alert-rules/:id',
        operationId: 'deleteAlertRule',
        tag,
        summary: 'Delete an alert rule',
        description: 'Its open alerts close with one notice; its alerts stay.',
        permission: { role: 'engineer', scope: 'site' },
        sites: ruleDeleted(rules),
        params: RuleParams,
        responses: { 204: { description: 'It is deleted' } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => {
        if (!(await rules.delete(id))) throw notFound('alert rule', id)
        return new Response(null, { status: 204, headers: { 'cache-control': 'no-store' } })
      },
    ),
  ]
}

function trialRoute(rules: AlertRuleRoutesOptions['rules'], trials: Pick<RuleTrials, 'run'>): Route {
  return defineRoute(
    {
      method: 'POST',
      path: '/api/v1/alert-rules/:id/test',
      operationId: 'testAlertRule',
      tag,
      summary: 'What a rule would have found in stored readings of a device',
      description: 'Nothing is written and nobody is told.',
      permission: { role: 'engineer', scope: 'site' },
      sites: ruleTried(rules),
      params: RuleParams,
      body: AlertRuleTestSchema,
      activity: false,
      responses: { 200: { description: 'What it would have found', schema: AlertRuleTestResultSchema } },
      problems: ['NOT_FOUND', 'UNAVAILABLE'],
    },
    async ({ params: { id }, body: { from, to, deviceId, changes }, caller }) => {
      const stretch = { fromMs: instant(from) as number, toMs: instant(to) as number }
      const tried = { deviceId, changes: changes && toNewRule(changes) }
      const result = await trials.run(id, { ...stretch, ...tried, sees: caller.sites('viewer') })
      if (result === null) throw notFound('alert rule', id)
      return { status: 200, body: alertRuleTestBody(result) }
    },
  )
}

function toNewRule(body: Static<typeof NewAlertRuleSchema>): NewAlertRule
function toNewRule(body: Static<typeof AlertRuleChangesSchema>): Partial<NewAlertRule>
function toNewRule(body: Static<typeof AlertRuleChangesSchema>): Partial<NewAlertRule> {
  return body
}

function created(rule: AlertRule): Reply {
  return { status: 201, body: alertRuleBody(rule), headers: { location: `/api/v1/alert-rules/${rule.id}` } }
}

function conflict(error: AlertRulesLimitError): Problem {
  return new Problem('CONFLICT', error.message, { code: error.code, hint: error.hint, cause: error })
}
