/** X.509 certificates as the authority makes and reads them. */

import { createHash, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { isIssuedBy, type Validity } from '../../shared/certificates.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import { loadX509, type X509 } from '../../shared/x509.ts'

/** The name of a gateway in its certificate. */
export const GATEWAY_URN = 'urn:busbar:gateway:'
/** The name that every certificate for the ingest has, whatever the host is called: what gateways look for. */
export const INGEST_SERVER_NAME = 'ingest.busbar.internal'

export const EC_P256 = { name: 'ECDSA', namedCurve: 'P-256' } as const
const P256_SIGNING = { ...EC_P256, hash: 'SHA-256' } as const

/** Whoever signs: a certificate of an authority and its key. */
export interface Signer {
  readonly certificate: X509Certificate
  readonly key: CryptoKey
  readonly signing: SigningAlgorithm
}

export interface SigningAlgorithm {
  readonly name: string
  readonly hash: string
  /** Of an EC key. */
  readonly namedCurve?: string
}

/** A certificate for a server, both in PEM. */
export interface ServerCertificate extends Validity {
  readonly cert: string
  readonly key: string
}

/** What is known of a certificate that somebody shows, whoever signed it. */
export interface CertificateFacts extends Validity {
  /** SHA-256 of the certificate, lower-case hexadecimal. */
  readonly fingerprint: string
  /** Lower-case hexadecimal without leading zeros. */
  readonly serial: string
  /** SHA-256 of the public key, lower-case hexadecimal. */
  readonly keyHash: string
  readonly pem: string
  /** Gateways that its alternative names name, and its common names. */
  readonly gatewayIds: readonly string[]
  readonly commonNames: readonly string[]
  readonly certificate: X509Certificate
}

/** A new authority that signs for gateways and for this core. */
export async function makeAuthority(
  validity: Validity,
  random: Random,
): Promise<{ readonly certificatePem: string; readonly keyPem: string }> {
  const x509 = await loadX509()
  const keys = await crypto.subtle.generateKey(P256_SIGNING, true, ['sign', 'verify'])
  // Two installations must not look like one to whoever trusts both.
  const name = `Busbar authority ${randomHex(random, 4)}`
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(random),
    name: [{ CN: [name] }],
    ...datesOf(validity),
    keys,
    signingAlgorithm: P256_SIGNING,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificatePem: pemOf(certificate.rawData), keyPem: await keyPemOf(x509, keys.privateKey) }
}

/** A certificate for a gateway. What it asked for by name does not matter: it is for `gatewayId`. */
export async function signGateway(
  signer: Signer,
  gateway: { readonly gatewayId: string; readonly publicKey: CryptoKey },
  validity: Validity,
  random: Random,
): Promise<string> {
  const x509 = await loadX509()
  const { gatewayId, publicKey } = gateway
  return sign(x509, signer, { commonName: gatewayId, publicKey, validity, serial: newSerial(random) }, [
    new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
    new x509.SubjectAlternativeNameExtension([{ type: 'url', value: `${GATEWAY_URN}${gatewayId}` }]),
  ])
}

/** A certificate with a new key for a server that is reached under `hosts`, names or addresses; the first is its name. */
export async function makeServerCertificate(
  signer: Signer,
  hosts: readonly string[],
  validity: Validity,
  random: Random,
): Promise<ServerCertificate> {
  const x509 = await loadX509()
  const keys = await crypto.subtle.generateKey(P256_SIGNING, true, ['sign', 'verify'])
  const names = [...new Set(hosts)].map((host) => ({ type: isIP(host) === 0 ? 'dns' : 'ip', value: host }) as const)
  const cert = await sign(
    x509,
    signer,
    { commonName: hosts[0] ?? INGEST_SERVER_NAME, publicKey: keys.publicKey, validity, serial: newSerial(random) },
    [
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(names),
    ],
  )
  return { cert, key: await keyPemOf(x509, keys.privateKey), ...validity }
}

/**
 * What a certificate says, its signature not looked at.
 * @param certificate DER, or PEM of one.
 * @throws when it cannot be read.
 */
export async function readCertificate(certificate: Uint8Array | string): Promise<CertificateFacts> {
  const x509 = await loadX509()
  const known = new X509Certificate(certificate)
  const parsed = new x509.X509Certificate(new Uint8Array(known.raw))
  const names = parsed.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? []
  const urls = names.filter(({ type }) => type === 'url').map(({ value }) => value)
  return {
    fingerprint: sha256Hex(known.raw),
    serial: known.serialNumber.toLowerCase().replace(/^0+(?=.)/, ''),
    keyHash: sha256Hex(known.publicKey.export({ type: 'spki', format: 'der' })),
    pem: pemOf(known.raw),
    gatewayIds: urls.filter((url) => url.startsWith(GATEWAY_URN)).map((url) => url.slice(GATEWAY_URN.length)),
    commonNames: parsed.subjectName.getField('CN'),
    notBeforeMs: parsed.notBefore.getTime(),
    notAfterMs: parsed.notAfter.getTime(),
    certificate: known,
  }
}

export function isSelfSigned(certificate: X509Certificate): boolean {
  return isIssuedBy(certificate, certificate)
}

export function pemOf(der: ArrayBuffer | Uint8Array): string {
  const lines =
    Buffer.from(der as Uint8Array)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

async function sign(
  x509: X509,
  signer: Signer,
  subject: {
    readonly commonName: string
    readonly publicKey: CryptoKey
    readonly validity: Validity
    readonly serial: string
  },
  extensions: InstanceType<X509['Extension']>[],
): Promise<string> {
  const issuer = new x509.X509Certificate(new Uint8Array(signer.certificate.raw))
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: subject.serial,
    subject: [{ CN: [subject.commonName] }],
    issuer: issuer.subjectName,
    ...datesOf(subject.validity),
    publicKey: subject.publicKey,
    signingKey: signer.key,
    signingAlgorithm: { ...signer.signing },
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      ...extensions,
      await x509.SubjectKeyIdentifierExtension.create(subject.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  })
  return pemOf(certificate.rawData)
}

/** 127 random bits, positive and without a leading zero, as RFC 5280 and those that compare serials as text want it. */
function newSerial(random: Random): string {
  const bytes = Buffer.from(random.bytes(16))
  bytes[0] = ((bytes[0] as number) & 0x7f) | 0x40
  return bytes.toString('hex')
}

function datesOf({ notBeforeMs, notAfterMs }: Validity): { readonly notBefore: Date; readonly notAfter: Date } {
  return { notBefore: new Date(notBeforeMs), notAfter: new Date(notAfterMs) }
}

async function keyPemOf(x509: X509, key: CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`
}
