/** The certificates of gateways, the tokens by which they get them, and the sites that they speak for. */

import { Type } from '@sinclair/typebox'
import type { Clock } from '../../../shared/clock.ts'
import type { GatewayTrust } from '../../authority/authority.ts'
import type { Registry } from '../../registry/registry.ts'
import { NO_SITE } from '../../registry/site-scope.ts'
import { notFound } from '../http/problem.ts'
import { type Call, defineRoute, type Route, type SiteRule } from '../http/route.ts'
import { atGateway, notRegistered } from '../http/site-rules.ts'
import { closed, GatewayIdSchema } from '../schemas/common.ts'
import {
  CreatedEnrolmentTokenSchema,
  certificateBody,
  EnrolmentTokensSchema,
  GatewayCertificatesSchema,
  GatewaySitesChangeSchema,
  GatewaySitesSchema,
  NewEnrolmentTokenSchema,
  RevocationSchema,
  tokenBody,
} from '../schemas/enrolment.ts'

export interface CertificateRoutesOptions {
  readonly trust: Pick<GatewayTrust, 'enrolment' | 'certificates'>
  readonly registry: Pick<Registry, 'gateways' | 'gatewaySites'>
  /** api.publicUrl; null when there is none. */
  readonly publicUrl: string | null
  readonly clock: Clock
}

const tag = 'gateways'
const GATEWAY = '/api/v1/gateways/:id'
const GatewayParams = Type.Object({ id: GatewayIdSchema })
const TokenParams = Type.Object({ id: GatewayIdSchema, tokenId: Type.String({ pattern: '^[0-9a-f]{16}$' }) })
const SerialSchema = Type.String({ pattern: '^[0-9a-f]{1,64}$', description: 'Its serial, or its fingerprint' })
const CertificateParams = Type.Object({ id: GatewayIdSchema, serial: SerialSchema })
const RevokedSchema = Type.Object(
  { revoked: Type.Integer({ description: 'Certificates that are revoked now' }) },
  closed,
)
const NO_REASON = 'no reason was given'

export function certificateRoutes(options: CertificateRoutesOptions): Route[] {
  return [...tokenRoutes(options), ...listed(options), ...revocations(options), ...siteRoutes(options)]
}

function tokenRoutes({ trust, registry, publicUrl, clock }: CertificateRoutesOptions): Route[] {
  const { enrolment } = trust
  return [
    defineRoute(
      {
        method: 'POST',
        path: `${GATEWAY}/enrolment-tokens`,
        operationId: 'createEnrolmentToken',
        tag,
        summary: 'Make a token with which a gateway enrols',
        description:
          'The answer is the only one that holds the token: bring it to the gateway and redeem it with busbar-edge enroll. A ' +
          'gateway that is new is registered. Sent twice, it makes two.',
        permission: { role: 'engineer', scope: 'site' },
        sites: withNewSites(registry, 'or new'),
        params: GatewayParams,
        body: NewEnrolmentTokenSchema,
        responses: { 201: { description: 'The token', schema: CreatedEnrolmentTokenSchema } },
        problems: ['NOT_FOUND', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ params: { id: gatewayId }, body, caller }) => {
        const { token, stored } = await enrolment.createToken({ gatewayId, ...body, createdBy: caller.id })
        return { status: 201, body: { ...tokenBody(stored, clock.wallMs()), token, url: publicUrl } }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: `${GATEWAY}/enrolment-tokens`,
        operationId: 'listEnrolmentTokens',
        tag,
        summary: 'Tokens of a gateway, the newest first, 1,000 at most',
        permission: { role: 'engineer', scope: 'site' },
        sites: atGateway(registry, 'changed'),
        params: GatewayParams,
        responses: { 200: { description: 'Its tokens, without their secrets', schema: EnrolmentTokensSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => {
        await existing(registry, id)
        const tokens = await enrolment.listTokens(id)
        return { status: 200, body: { items: tokens.map((token) => tokenBody(token, clock.wallMs())) } }
      },
    ),
    defineRoute(
      {
        method: 'DELETE',
        path: `${GATEWAY}/enrolment-tokens/:tokenId`,
        operationId: 'revokeEnrolmentToken',
        tag,
        summary: 'Take back a token',
        description: 'One that was redeemed stays so: revoke the certificate.',
        permission: { role: 'engineer', scope: 'site' },
        sites: atGateway(registry, 'changed'),
        params: TokenParams,
        responses: { 204: { description: 'It cannot be redeemed any more' } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id, tokenId } }) => {
        await existing(registry, id)
        if (!(await enrolment.revokeToken(id, tokenId))) throw notFound('enrolment token', tokenId)
        return new Response(null, { status: 204, headers: { 'cache-control': 'no-store' } })
      },
    ),
  ]
}

function listed({ trust, registry }: CertificateRoutesOptions): Route[] {
  return [
    defineRoute(
      {
        method: 'GET',
        path: `${GATEWAY}/certificates`,
        operationId: 'listCertificates',
        tag,
        summary: 'Certificates of a gateway, the newest first, 1,000 at most',
        permission: { role: 'viewer', scope: 'site' },
        sites: atGateway(registry),
        params: GatewayParams,
        responses: { 200: { description: 'Its certificates', schema: GatewayCertificatesSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => {
        await existing(registry, id)
        return { status: 200, body: { items: (await trust.certificates.list(id)).map(certificateBody) } }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: `${GATEWAY}/sites`,
        operationId: 'getGatewaySites',
        tag,
        summary: 'The sites that a gateway may speak for',
        permission: { role: 'viewer', scope: 'site' },
        sites: atGateway(registry),
        params: GatewayParams,
        responses: { 200: { description: 'Its sites', schema: GatewaySitesSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => {
        await existing(registry, id)
        return { status: 200, body: { siteIds: await registry.gatewaySites.given(id) } }
      },
    ),
  ]
}

function revocations({ trust, registry }: CertificateRoutesOptions): Route[] {
  const { certificates } = trust
  const rule = {
    permission: { role: 'engineer', scope: 'site' },
    body: RevocationSchema,
    bodyOptional: true,
    responses: { 200: { description: 'How many certificates that is', schema: RevokedSchema } },
    problems: ['NOT_FOUND', 'UNAVAILABLE'],
  } as const
  return [
    defineRoute(
      {
        ...rule,
        method: 'POST',
        path: `${GATEWAY}/certificates/:serial/revoke`,
        operationId: 'revokeCertificate',
        tag,
        summary: 'Revoke a certificate, for ever',
        description: 'Its stream ends within authority.recheckMs. Once more changes nothing.',
        sites: atGateway(registry, 'changed'),
        params: CertificateParams,
      },
      async ({ params: { id, serial }, body: { reason = NO_REASON }, caller }) => {
        await existing(registry, id)
        const found = await certificates.revoke(id, serial, { reason, by: caller.id })
        if (!found) throw notFound('certificate', serial)
        return { status: 200, body: { revoked: 1 } }
      },
    ),
    defineRoute(
      {
        ...rule,
        method: 'POST',
        path: `${GATEWAY}/revoke-all`,
        operationId: 'revokeGateway',
        tag,
        summary: 'Revoke all certificates of a gateway, and its open tokens',
        description: 'Its stream ends within authority.recheckMs. To let it in again, make a token.',
        sites: atGateway(registry, 'changed'),
        params: GatewayParams,
      },
      async ({ params: { id }, body: { reason = NO_REASON }, caller }) => {
        await existing(registry, id)
        return { status: 200, body: { revoked: await certificates.revokeAll(id, { reason, by: caller.id }) } }
      },
    ),
  ]
}

function siteRoutes({ registry, trust }: CertificateRoutesOptions): Route[] {
  return [
    defineRoute(
      {
        method: 'PATCH',
        path: `${GATEWAY}/sites`,
        operationId: 'changeGatewaySites',
        tag,
        summary: 'Say which sites a gateway may speak for',
        description:
          'Counts on its open stream within authority.recheckMs. What it sends for others goes to the dead letters, code ' +
          'SITE_NOT_ALLOWED. Sites that are new are registered. Enrolment tokens that were not redeemed are void when it gets ' +
          'one more.',
        permission: { role: 'engineer', scope: 'site' },
        sites: withNewSites(registry, 'existing'),
        params: GatewayParams,
        body: GatewaySitesChangeSchema,
        responses: { 200: { description: 'Its sites', schema: GatewaySitesSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, body: { siteIds }, activity }) => {
        activity.more({ siteIds })
        return { status: 200, body: { siteIds: await trust.certificates.giveSites(id, siteIds) } }
      },
    ),
  ]
}

type SitesCall = Pick<
  Call<{ readonly id: string }, unknown, { readonly siteIds?: readonly number[] | undefined }>,
  'params' | 'body' | 'caller'
>

/** The role is needed at the sites that the gateway has and at those that it is to get: nobody takes one, or gives one away. */
function withNewSites(
  registry: CertificateRoutesOptions['registry'],
  which: 'existing' | 'or new',
): SiteRule<SitesCall> {
  const there = atGateway(registry, 'changed')
  return {
    async of(call) {
      const { siteIds = [] } = call.body
      const concern = await there.of(call)
      if (concern === null) {
        if (which === 'existing') return null
        return { needs: siteIds.length === 0 ? [NO_SITE] : siteIds, seen: true }
      }
      const { needs, seen } = concern as Exclude<typeof concern, Iterable<number>>
      return { needs: [...needs, ...siteIds], seen }
    },
    // In the words of the handler, which leaves it to the registry.
    missing: which === 'existing' ? ({ params }) => notRegistered('gateway', params.id) : there.missing,
  }
}

async function existing(registry: CertificateRoutesOptions['registry'], id: string): Promise<void> {
  if ((await registry.gateways.get(id)) === null) throw notFound('gateway', id)
}
