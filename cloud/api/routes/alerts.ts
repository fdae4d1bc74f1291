/** Alert rules and alerts over REST. */

import { type Static, Type } from '@sinclair/typebox'
import {
  AlertClosedError,
  type AlertRule,
  type AlertRules,
  AlertRulesLimitError,
  type Alerts,
  type AlertView,
  type NewAlertRule,
} from '../../alerts/alerts.ts'
import { notFound, Problem } from '../http/problem.ts'
import { defineRoute, type Reply, type Route } from '../http/route.ts'
import {
  AlertAcknowledgementSchema,
  AlertIdSchema,
  AlertRuleChangesSchema,
  AlertRuleIdSchema,
  AlertRuleSchema,
  AlertSchema,
  AlertSeveritySchema,
  AlertStateSchema,
  alertBody,
  alertRuleBody,
  NewAlertRuleSchema,
} from '../schemas/alert.ts'
import {
  closed,
  DeviceIdSchema,
  InstantSchema,
  instant,
  PAGE_QUERY,
  pageBody,
  pageSchema,
  SerialNumberSchema,
  SiteIdSchema,
} from '../schemas/common.ts'
import { DeviceTypeSchema } from '../schemas/device.ts'

export interface AlertRoutesOptions {
  readonly rules: Pick<AlertRules, 'create' | 'get' | 'list' | 'update' | 'delete'>
  readonly alerts: Pick<Alerts, 'get' | 'list' | 'acknowledge'>
}

const tag = 'alerts'
const RuleParams = Type.Object({ id: AlertRuleIdSchema })
const AlertParams = Type.Object({ id: AlertIdSchema })

export function alertRoutes({ rules, alerts }: AlertRoutesOptions): Route[] {
  return [...ruleRoutes(rules), ...foundRoutes(alerts)]
}

function ruleRoutes(rules: AlertRoutesOptions['rules']): Route[] {
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/alert-rules',
        operationId: 'listAlertRules',
        tag,
        summary: 'Alert rules, the newest first, all of them or those that match every criterion given',
        permission: { role: 'viewer', scope: 'site' },
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
      async ({ query }) => ({ status: 200, body: pageBody(await rules.list(query), alertRuleBody) }),
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
        body: NewAlertRuleSchema,
        idempotent: true,
        responses: { 201: { description: 'The rule', schema: AlertRuleSchema } },
        problems: ['CONFLICT', 'UNAVAILABLE'],
      },
      async ({ body, remember }) => {
        const rule = await rules
          .create(toNewRule(body), async (stored, transaction) => await remember?.(created(stored), transaction))
          .catch((error: unknown) => {
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
        params: RuleParams,
        body: AlertRuleChangesSchema,
        responses: { 200: { description: 'The rule as it is now', schema: AlertRuleSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, body }) => {
        const rule = await rules.update(id, toNewRule(body))
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

function foundRoutes(alerts: AlertRoutesOptions['alerts']): Route[] {
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/alerts',
        operationId: 'listAlerts',
        tag,
        summary: 'Alerts, the newest first, all of them or those that match every criterion given',
        permission: { role: 'viewer', scope: 'site' },
        query: Type.Object(
          {
            ...PAGE_QUERY,
            state: Type.Optional(AlertStateSchema),
            severity: Type.Optional(AlertSeveritySchema),
            siteId: Type.Optional(SiteIdSchema),
            deviceId: Type.Optional(DeviceIdSchema),
            serialNumber: Type.Optional(SerialNumberSchema),
            ruleId: Type.Optional(AlertRuleIdSchema),
            past: Type.Optional(
              Type.Boolean({ description: 'true for those found after the fact, false for the others' }),
            ),
            from: Type.Optional({ ...InstantSchema, description: `Opened at or after. ${InstantSchema.description}` }),
            to: Type.Optional({ ...InstantSchema, description: `Opened before. ${InstantSchema.description}` }),
          },
          closed,
        ),
        responses: { 200: { description: 'A page of alerts', schema: pageSchema(AlertSchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query }) => {
        const { from, to, ...rest } = query
        const page = await alerts.list({ ...rest, fromMs: instant(from), toMs: instant(to) })
        return { status: 200, body: pageBody(page, alertBody) }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/alerts/:id',
        operationId: 'getAlert',
        tag,
        summary: 'One alert, with the rule as it was',
        permission: { role: 'viewer', scope: 'site' },
        params: AlertParams,
        responses: { 200: { description: 'The alert', schema: AlertSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => {
        const alert = await alerts.get(id)
        if (alert === null) throw notFound('alert', id)
        return { status: 200, body: alertBody(alert) }
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/alerts/:id/acknowledge',
        operationId: 'acknowledgeAlert',
        tag,
        summary: 'Say that somebody has seen to an open alert',
        description:
          'It is not escalated any more. The first acknowledgement counts and later ones answer with it. An alert that closed ' +
          'before anybody acknowledged it is a conflict.',
        permission: { role: 'operator', scope: 'site' },
        params: AlertParams,
        body: AlertAcknowledgementSchema,
        idempotent: true,
        responses: { 200: { description: 'The alert', schema: AlertSchema } },
        problems: ['NOT_FOUND', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ params: { id }, body: { userId, note = null }, remember }) => {
        const alert = await alerts
          .acknowledge(id, { userId, note }, async (stored, transaction) => {
            await remember?.(shown(stored), transaction)
          })
          .catch((error: unknown) => {
            throw error instanceof AlertClosedError ? conflict(error) : error
          })
        if (alert === null) throw notFound('alert', id)
        return shown(alert)
      },
    ),
  ]
}

function toNewRule(body: Static<typeof NewAlertRuleSchema>): NewAlertRule
function toNewRule(body: Static<typeof AlertRuleChangesSchema>): Partial<NewAlertRule>
function toNewRule(body: Static<typeof AlertRuleChangesSchema>): Partial<NewAlertRule> {
  return body
}

function created(rule: AlertRule): Reply {
  return { status: 201, body: alertRuleBody(rule), headers: { location: `/api/v1/alert-rules/${rule.id}` } }
}

function shown(alert: AlertView): Reply {
  return { status: 200, body: alertBody(alert) }
}

function conflict(error: AlertRulesLimitError | AlertClosedError): Problem {
  return new Problem('CONFLICT', error.message, { code: error.code, hint: error.hint, cause: error })
}
