/** Who signs: the authority that Busbar made for itself, or one that the operator brings. */

import { createPrivateKey, type KeyObject, type X509Certificate } from 'node:crypto'
import { certificatesIn, type Validity } from '../../shared/certificates.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Random } from '../../shared/random.ts'
import {
  isSelfSigned,
  makeServerCertificate,
  pemOf,
  type ServerCertificate,
  type Signer,
  signGateway,
} from './certificate.ts'
import { authorityInvalid, notIssuing } from './errors.ts'

/** A clock that is behind by so much still takes a new certificate. */
const BACKDATED_MS = 3_600_000

/** An authority as it is stored or configured, in PEM. */
export interface AuthorityFiles {
  /** The authority that signs, then what leads to its root, the root included. */
  readonly certificates: string
  /** Without it nothing is signed here. */
  readonly key?: string
}

export class Issuer {
  /** The root: what gateways trust the cloud by, and whose fingerprint a token carries. */
  readonly anchor: X509Certificate
  /** The authority that signs for gateways, here or elsewhere. */
  readonly signing: X509Certificate
  private readonly chain: readonly X509Certificate[]
  private readonly signer: Signer | null
  private readonly random: Random

  private constructor(chain: readonly X509Certificate[], signer: Signer | null, random: Random) {
    this.chain = chain
    this.signing = chain[0] as X509Certificate
    this.anchor = chain.at(-1) as X509Certificate
    this.signer = signer
    this.random = random
  }

  /** @throws BusbarError AUTHORITY_INVALID */
  static async open({ certificates, key }: AuthorityFiles, nowMs: number, random: Random): Promise<Issuer> {
    const chain = readChain(certificates, nowMs)
    return new Issuer(chain, key === undefined ? null : await signerOf(chain[0] as X509Certificate, key), random)
  }

  get canIssue(): boolean {
    return this.signer !== null
  }

  /** All that gateways' certificates are verified against, PEM. */
  get trustPem(): string {
    return this.chain.map((certificate) => pemOf(certificate.raw)).join('')
  }

  get anchorPem(): string {
    return pemOf(this.anchor.raw)
  }

  /** Whose signature a certificate bears that counts as issued here; null when nothing is. */
  get issues(): X509Certificate | null {
    return this.signer === null ? null : this.signing
  }

  /** What follows a certificate on its way to the root, PEM; a root that signs itself is not sent. */
  get intermediatesPem(): string {
    return this.chain
      .slice(0, -1)
      .map((certificate) => pemOf(certificate.raw))
      .join('')
  }

  /**
   * A certificate for a gateway, PEM without its chain.
   * @throws IdentityError AUTHORITY_CANNOT_ISSUE
   */
  gateway(gateway: { readonly gatewayId: string; readonly publicKey: CryptoKey }, lifeMs: number, nowMs: number) {
    return signGateway(this.signerOrThrow(), gateway, this.validity(lifeMs, nowMs), this.random)
  }

  /** A certificate for a server with its chain. @throws IdentityError AUTHORITY_CANNOT_ISSUE */
  async server(hosts: readonly string[], lifeMs: number, nowMs: number): Promise<ServerCertificate> {
    const made = await makeServerCertificate(this.signerOrThrow(), hosts, this.validity(lifeMs, nowMs), this.random)
    return { ...made, cert: made.cert + this.intermediatesPem }
  }

  private signerOrThrow(): Signer {
    if (this.signer === null) throw notIssuing()
    return this.signer
  }

  /** Never beyond what signs it: such a certificate would be refused before its own end. */
  private validity(lifeMs: number, nowMs: number): Validity {
    const notBeforeMs = Math.max(nowMs - BACKDATED_MS, this.signing.validFromDate.getTime())
    return { notBeforeMs, notAfterMs: Math.min(nowMs + lifeMs, this.signing.validToDate.getTime()) }
  }
}

function readChain(pem: string, nowMs: number): X509Certificate[] {
  let chain: X509Certificate[]
  try {
    chain = certificatesIn(pem)
  } catch (cause) {
    throw authorityInvalid('authority.certFile holds something that is no certificate', 'Put only PEM in it.', cause)
  }
  const [signing] = chain
  if (signing === undefined) {
    throw authorityInvalid('authority.certFile holds no certificate', 'Put the authority in it, then its root, in PEM.')
  }
  if (!signing.ca) {
    const hint = 'The first certificate must be that of an authority (CA:TRUE), not that of a server.'
    throw authorityInvalid('the certificate in authority.certFile may not sign others', hint)
  }
  if (signing.validToDate.getTime() <= nowMs) {
    const hint = 'Replace it; gateways then need new tokens, or certificates from wherever theirs were made.'
    throw authorityInvalid(`the authority of gateways expired on ${signing.validTo}`, hint)
  }
  if (!isSelfSigned(chain.at(-1) as X509Certificate)) {
    const hint = 'Append the certificates that lead to its root, and the root itself as the last one.'
    throw authorityInvalid('authority.certFile does not lead to a root', hint)
  }
  return chain
}

async function signerOf(certificate: X509Certificate, keyPem: string): Promise<Signer> {
  let key: KeyObject
  try {
    key = createPrivateKey(keyPem)
  } catch (cause) {
    const hint = 'authority.keyFile must hold one private key in PEM, without a password.'
    throw authorityInvalid(`the key of the authority cannot be read: ${messageOf(cause)}`, hint, cause)
  }
  if (!certificate.checkPrivateKey(key)) {
    const hint = 'authority.keyFile must hold the key of the first certificate in authority.certFile.'
    throw authorityInvalid('the key of the authority is not that of its certificate', hint)
  }
  const signing = signingOf(key)
  const der = key.export({ type: 'pkcs8', format: 'der' })
  return {
    certificate,
    signing,
    key: await crypto.subtle.importKey('pkcs8', new Uint8Array(der), signing, false, ['sign']),
  }
}

function signingOf(key: KeyObject) {
  const { namedCurve } = key.asymmetricKeyDetails ?? {}
  if (key.asymmetricKeyType === 'rsa') return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  if (namedCurve === 'prime256v1') return { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  if (namedCurve === 'secp384r1') return { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' }
  throw authorityInvalid(
    'the key of the authority is of a kind that is not known here',
    'Use RSA, EC P-256 or EC P-384.',
  )
}
