/** Alerts over REST. */

import { Type } from '@sinclair/typebox'
import { AlertClosedError, type Alerts, type AlertView } from '../../alerts/alerts.ts'
import { doerOf } from '../http/doer.ts'
import { notFound, Problem } from '../http/problem.ts'
import { defineRoute, type Reply, type Route, type SiteRule } from '../http/route.ts'
import {
  AlertAcknowledgementSchema,
  AlertIdSchema,
  AlertSchema,
  AlertStateSchema,
  alertBody,
} from '../schemas/alert.ts'
import { AlertRuleIdSchema, AlertSeveritySchema } from '../schemas/alert-rule.ts'
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
import { type AlertRuleRoutesOptions, alertRuleRoutes } from './alert-rules.ts'

export interface AlertRoutesOptions extends AlertRuleRoutesOptions {
  readonly alerts: Pick<Alerts, 'get' | 'list' | 'acknowledge'>
}

const tag = 'alerts'
const AlertParams = Type.Object({ id: AlertIdSchema })

/** Those of alert rules among them. */
export function alertRoutes(options: AlertRoutesOptions): Route[] {
  return [...alertRuleRoutes(options), ...foundRoutes(options.alerts)]
}

function foundRoutes(alerts: AlertRoutesOptions['alerts']): Route[] {
  const sites: SiteRule<{ readonly params: { readonly id: string } }> = {
    async of({ params }) {
      const alert = await alerts.get(params.id)
      return alert && [alert.siteId]
    },
    missing: ({ params }) => notFound('alert', params.id),
  }
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/alerts',
        operationId: 'listAlerts',
        tag,
        summary: 'Alerts, the newest first, all of them or those that match every criterion given',
        permission: { role: 'viewer', scope: 'site' },
        sites: 'listed',
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
      async ({ query, caller }) => {
        const { from, to, ...rest } = query
        const stretch = { fromMs: instant(from), toMs: instant(to) }
        const page = await alerts.list({ ...rest, ...stretch, sites: caller.sites('viewer') })
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
        sites,
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
        sites,
        params: AlertParams,
        body: AlertAcknowledgementSchema,
        bodyOptional: true,
        idempotent: true,
        responses: { 200: { description: 'The alert', schema: AlertSchema } },
        problems: ['NOT_FOUND', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ params: { id }, body, remember, caller, activity }) => {
        const by = { userId: doerOf({ caller, activity }, body.userId, '/userId'), note: body.note ?? null }
        const alert = await alerts
          .acknowledge(id, by, async (stored, transaction) => {
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

function shown(alert: AlertView): Reply {
  return { status: 200, body: alertBody(alert) }
}

function conflict(error: AlertClosedError): Problem {
  return new Problem('CONFLICT', error.message, { code: error.code, hint: error.hint, cause: error })
}
