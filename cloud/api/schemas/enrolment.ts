/** How gateways get their certificates, as the API shows and takes it. */

import { Type } from '@sinclair/typebox'
import type { EnrolmentToken, IssuedCertificate, StoredCertificate } from '../../authority/authority.ts'
import { GATEWAY_SITES_MAX } from '../../registry/gateway-sites.ts'
import { closed, GatewayIdSchema, nullable, SiteIdSchema, TimeSchema, time, timeOrNull } from './common.ts'

const SiteIds = (description: string) =>
  Type.Array(SiteIdSchema, { minItems: 1, maxItems: GATEWAY_SITES_MAX, uniqueItems: true, description })

export const NewEnrolmentTokenSchema = Type.Object(
  {
    siteIds: Type.Optional(
      SiteIds(
        'The sites that the gateway may speak for from now on; left out, those that it has stay. Those that are new are ' +
          'registered',
      ),
    ),
    expiresInHours: Type.Optional(
      Type.Number({ minimum: 0.01, maximum: 720, description: 'How long it is good; authority.tokenHours otherwise' }),
    ),
  },
  { ...closed, $id: 'NewEnrolmentToken' },
)

const Token = {
  id: Type.String({ description: 'Names the token and is no secret' }),
  gatewayId: GatewayIdSchema,
  state: Type.Union(
    ['OPEN', 'REDEEMED', 'EXPIRED', 'REVOKED'].map((state) => Type.Literal(state)),
    { description: 'Whether it can still be redeemed, or what became of it' },
  ),
  createdBy: Type.String(),
  createdAt: TimeSchema,
  expiresAt: TimeSchema,
  redeemedAt: nullable(TimeSchema),
  redeemedFrom: nullable(Type.String({ description: 'Address of whoever redeemed it' })),
  revokedAt: nullable(TimeSchema),
}

export const EnrolmentTokenSchema = Type.Object(Token, {
  ...closed,
  $id: 'EnrolmentToken',
  description: 'Good once, for one certificate of one gateway',
})

export const CreatedEnrolmentTokenSchema = Type.Object(
  {
    ...Token,
    token: Type.String({ description: 'The token itself, which is shown this once' }),
    url: nullable(Type.String({ description: 'api.publicUrl, for busbar-edge enroll --url' })),
  },
  { ...closed, $id: 'CreatedEnrolmentToken' },
)

export const EnrolmentTokensSchema = Type.Object({ items: Type.Array(EnrolmentTokenSchema) }, closed)

export const GatewayCertificateSchema = Type.Object(
  {
    serial: Type.String({ description: 'Hexadecimal' }),
    fingerprint: Type.String({ description: 'SHA-256, hexadecimal' }),
    gatewayId: GatewayIdSchema,
    issuedFor: Type.Union(
      ['enrolment', 'renewal', 'recovery', 'elsewhere'].map((why) => Type.Literal(why)),
      { description: 'recovery: by the key of one that had expired; elsewhere: by another authority, first seen then' },
    ),
    issuedAt: TimeSchema,
    notBefore: TimeSchema,
    notAfter: TimeSchema,
    revokedAt: nullable(TimeSchema),
    revokedReason: nullable(Type.String()),
    revokedBy: nullable(Type.String()),
  },
  { ...closed, $id: 'GatewayCertificate' },
)

export const GatewayCertificatesSchema = Type.Object({ items: Type.Array(GatewayCertificateSchema) }, closed)

export const RevocationSchema = Type.Object(
  {
    reason: Type.Optional(
      Type.String({ minLength: 1, maxLength: 200, pattern: '^[^\\x00-\\x1f\\x7f]*$', description: 'Why, on one line' }),
    ),
  },
  { ...closed, $id: 'Revocation' },
)

export const GatewaySitesSchema = Type.Object(
  { siteIds: Type.Array(SiteIdSchema, { description: 'Ascending' }) },
  { ...closed, $id: 'GatewaySites', description: 'The sites that a gateway with a certificate may speak for' },
)

export const GatewaySitesChangeSchema = Type.Object(
  { siteIds: SiteIds('All of them: those that are not named are taken from it') },
  { ...closed, $id: 'GatewaySitesChange' },
)

/** Longest texts that are taken from whoever enrols. None is repeated in an answer: it may be a key by mistake. */
const PEM_CHARS_MAX = 16_384
const Pem = (description: string) =>
  Type.String({ minLength: 1, maxLength: PEM_CHARS_MAX, writeOnly: true, description })
const Short = (description: string) => Type.String({ minLength: 1, maxLength: 512, writeOnly: true, description })

export const AuthoritySchema = Type.Object(
  { certificatePem: Type.String({ description: 'The certificate whose fingerprint every token carries, PEM' }) },
  { ...closed, $id: 'Authority' },
)

export const EnrolmentSchema = Type.Object(
  {
    token: Short('The enrolment token, all of it'),
    csrPem: Pem('PKCS #10 of a P-256 key in PEM; its names are ignored'),
  },
  { ...closed, $id: 'Enrolment' },
)

export const ChallengeSchema = Type.Object(
  { challenge: Type.String({ description: 'To be signed within five minutes' }) },
  { ...closed, $id: 'Challenge' },
)

export const RecoverySchema = Type.Object(
  {
    certificatePem: Pem('The certificate to be renewed, PEM'),
    csrPem: Pem('PKCS #10 of a new P-256 key in PEM; its names are ignored'),
    challenge: Short('As it was given'),
    signature: Short(
      'Base64 of the DER of ECDSA with SHA-256, by the key of the certificate, over "busbar-renewal\\n", the challenge, ' +
        '"\\n" and the bytes of the request in DER',
    ),
  },
  { ...closed, $id: 'CertificateRecovery' },
)

export const IssuedCertificateSchema = Type.Object(
  {
    gatewayId: GatewayIdSchema,
    certificatePem: Type.String({ description: 'The certificate, then what leads to the authority, PEM' }),
    authorityPem: Type.String({ description: 'What the gateway is to trust the cloud by, PEM' }),
    ingestAddress: nullable(Type.String({ description: 'Where to dial, host:port; null when nobody configured it' })),
    serverName: Type.String({ description: 'The name that the certificate of the ingest carries' }),
    notAfter: TimeSchema,
  },
  { ...closed, $id: 'IssuedCertificate' },
)

export function tokenBody(token: EnrolmentToken, nowMs: number) {
  return {
    id: token.id,
    gatewayId: token.gatewayId,
    state: stateOf(token, nowMs),
    createdBy: token.createdBy,
    createdAt: time(token.createdAtMs),
    expiresAt: time(token.expiresAtMs),
    redeemedAt: timeOrNull(token.redeemedAtMs),
    redeemedFrom: token.redeemedFrom,
    revokedAt: timeOrNull(token.revokedAtMs),
  }
}

function stateOf({ redeemedAtMs, revokedAtMs, expiresAtMs }: EnrolmentToken, nowMs: number): string {
  if (redeemedAtMs !== null) return 'REDEEMED'
  if (revokedAtMs !== null) return 'REVOKED'
  return expiresAtMs <= nowMs ? 'EXPIRED' : 'OPEN'
}

export function certificateBody(certificate: StoredCertificate) {
  return {
    serial: certificate.serial,
    fingerprint: certificate.fingerprint,
    gatewayId: certificate.gatewayId,
    issuedFor: certificate.issuedFor,
    issuedAt: time(certificate.issuedAtMs),
    notBefore: time(certificate.notBeforeMs),
    notAfter: time(certificate.notAfterMs),
    revokedAt: timeOrNull(certificate.revokedAtMs),
    revokedReason: certificate.revokedReason,
    revokedBy: certificate.revokedBy,
  }
}

export function issuedBody({ notAfterMs, ...issued }: IssuedCertificate) {
  return { ...issued, notAfter: time(notAfterMs) }
}
