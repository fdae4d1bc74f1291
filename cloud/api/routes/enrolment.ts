/**
 * Where gateways get their certificates. Whoever asks here cannot be logged in: a token, or the key of an older certificate, is
 * what they have.
 */

import { Type } from '@sinclair/typebox'
import type { GatewayTrust } from '../../authority/authority.ts'
import type { ActivityNote } from '../http/activity.ts'
import { defineRoute, type Route } from '../http/route.ts'
import { closed } from '../schemas/common.ts'
import {
  AuthoritySchema,
  ChallengeSchema,
  EnrolmentSchema,
  IssuedCertificateSchema,
  issuedBody,
  RecoverySchema,
} from '../schemas/enrolment.ts'

export interface EnrolmentRoutesOptions {
  readonly trust: {
    readonly authority: Pick<GatewayTrust['authority'], 'issuer'>
    readonly enrolment: Pick<GatewayTrust['enrolment'], 'redeem'>
    readonly renewals: Pick<GatewayTrust['renewals'], 'challenge' | 'recover'>
  }
}

const tag = 'enrolment'
const REFUSALS = ['FORBIDDEN', 'CONFLICT', 'TOO_MANY_REQUESTS', 'UNAVAILABLE'] as const

export function enrolmentRoutes({ trust }: EnrolmentRoutesOptions): Route[] {
  const { authority, enrolment, renewals } = trust
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/enrolment/authority',
        operationId: 'getAuthority',
        tag,
        summary: 'The authority of gateways',
        description: 'Nobody needs to trust this answer: every token carries the fingerprint of the certificate.',
        permission: 'none',
        responses: { 200: { description: 'Its certificate', schema: AuthoritySchema } },
      },
      () => ({ status: 200, body: { certificatePem: authority.issuer.anchorPem } }),
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/enrolment',
        operationId: 'enrolGateway',
        tag,
        summary: 'Redeem an enrolment token for a certificate',
        description:
          'A token is good once. The same key gets the same certificate again while the token lasts, since the answer may ' +
          'have been lost; another key is refused with ENROLMENT_TOKEN_USED, and administrators are told.',
        permission: 'none',
        body: EnrolmentSchema,
        responses: { 201: { description: 'The certificate', schema: IssuedCertificateSchema } },
        problems: REFUSALS,
      },
      async ({ body, client, activity }) => {
        const issued = await enrolment.redeem(body, client.address)
        noteGateway(activity, issued.gatewayId)
        return { status: 201, body: issuedBody(issued) }
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/enrolment/challenges',
        operationId: 'createChallenge',
        tag,
        summary: 'Something to sign with the key of an expired certificate',
        permission: 'none',
        body: Type.Object({}, closed),
        bodyOptional: true,
        // Nothing is stored of it.
        activity: false,
        responses: { 200: { description: 'A challenge, good for five minutes', schema: ChallengeSchema } },
        problems: ['CONFLICT'],
      },
      () => ({ status: 200, body: { challenge: renewals.challenge() } }),
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/enrolment/renewals',
        operationId: 'renewCertificate',
        tag,
        summary: 'Renew a certificate by proof of its key',
        description:
          'For one that has expired, so that the uplink lets its gateway in no more; until authority.graceDays after its end, ' +
          'and never once it was revoked. A gateway that is connected renews over the uplink.',
        permission: 'none',
        body: RecoverySchema,
        responses: { 201: { description: 'The certificate', schema: IssuedCertificateSchema } },
        problems: REFUSALS,
      },
      async ({ body, client, activity }) => {
        const issued = await renewals.recover(body, client.address)
        noteGateway(activity, issued.gatewayId)
        return { status: 201, body: issuedBody(issued) }
      },
    ),
  ]
}

/** A gateway has no user: it goes by its own name. */
function noteGateway(activity: ActivityNote, gatewayId: string): void {
  activity.by(`gateway:${gatewayId}`)
  activity.about('gateway', gatewayId)
}
