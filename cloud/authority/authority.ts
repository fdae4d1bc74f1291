/**
 * The authority: makes the certificates of gateways and of this core, knows whose is whose, and says what no longer counts. Busbar
 * makes an authority for itself at the first start, its key sealed under the master key, unless the operator brings one.
 */

export { INGEST_SERVER_NAME } from './certificate.ts'
export type { StoredCertificate } from './certificate-store.ts'
export { type CertificateRefusalCode, CertificateRefusedError } from './errors.ts'
export type { GatewayIdentities, GatewayIdentity } from './gateway-identities.ts'
export { createGatewayTrust, type GatewayTrust, type GatewayTrustOptions } from './gateway-trust.ts'
export type { IssuedCertificate } from './issuance.ts'
export type { RecoveryRequest, Renewals } from './renewal.ts'
export type { EnrolmentToken } from './token-store.ts'
