/** From what a client shows to who it is: a certificate, or a username and secret. Asked again when logins change. */

import { timingSafeEqual, type X509Certificate } from 'node:crypto'
import {
  type CertificateFault,
  type CertificateProof,
  type ClientCertificates,
  identityOfUri,
} from './client-certificates.ts'
import { type Credential, type CredentialFile, hashSecret } from './credentials.ts'
import type { Identity } from './topic-rules.ts'
import type { ListenerKind } from './transport.ts'

/** What is known of the way a client came in. */
export interface Arrival {
  readonly listener: ListenerKind
  readonly remoteAddress: string
  /** Of whose key TLS has shown that the client has it; nothing else of it was judged. Null without one. */
  readonly certificate: X509Certificate | null
}

export interface Login {
  readonly clientId: string
  readonly username: string | undefined
  readonly password: Uint8Array | undefined
}

/** By what someone was let in. It outlives the connection with a last will, and is plain JSON therefore. */
export type Proof =
  | { readonly kind: 'local' }
  | { readonly kind: 'password'; readonly username: string; readonly secretMark: string }
  | CertificateProof

export type Authentication =
  /** Without a proof it is never asked again. */
  | { readonly accepted: true; readonly identity: Identity; readonly proof?: Proof }
  | {
      readonly accepted: false
      readonly reason: 'bad-credentials' | 'anonymous' | 'certificate-missing' | 'login-removed' | CertificateFault
    }

export interface Authenticator {
  /** @throws BusbarError when it cannot tell; the client is then refused as "server unavailable". */
  authenticate(login: Login, arrival: Arrival): Authentication
  /** Whom a proof stands for now. Without it proofs hold for ever. */
  recheck?(proof: Proof): Authentication
}

export interface LoginAuthenticatorOptions {
  readonly credentials: CredentialFile
  readonly certificates: ClientCertificates
  /** Whether clients of the TLS listener need a certificate. */
  readonly certificateRequired: boolean
  /** Let in whoever shows nothing. */
  readonly anonymousAllowed: boolean
  wallMs(): number
}

const UNKNOWN_SHA256 = '00'.repeat(32)
const REFUSED: Authentication = { accepted: false, reason: 'bad-credentials' }
const REMOVED: Authentication = { accepted: false, reason: 'login-removed' }

/**
 * With a good certificate nothing else is asked for. One that is not good is refused, never taken for none; and a password that
 * is given beside one has to be right, and of the same identity.
 */
export function loginAuthenticator(options: LoginAuthenticatorOptions): Authenticator {
  const { credentials, certificates, certificateRequired, anonymousAllowed, wallMs } = options

  const byPassword = (username: string, password: Uint8Array | undefined): Authentication => {
    let credential = credentials.find(username)
    let accepted = proves(password, credential)
    if (!accepted && credentials.reload()) {
      credential = credentials.find(username)
      accepted = proves(password, credential)
    }
    if (!accepted || credential === null) return REFUSED
    const proof = { kind: 'password', username, secretMark: markOf(credential) } as const
    return { accepted, identity: identityOf(credential), proof }
  }

  const recheck = (proof: Proof): Authentication => {
    switch (proof.kind) {
      case 'local':
        return anonymousAllowed ? { accepted: true, identity: { role: 'local' }, proof } : REMOVED
      case 'password': {
        const credential = credentials.find(proof.username)
        if (credential === null || markOf(credential) !== proof.secretMark) return REMOVED
        return { accepted: true, identity: identityOf(credential), proof }
      }
      case 'certificate': {
        if (certificates.isRevoked(proof.number)) return { accepted: false, reason: 'revoked' }
        const identity = proof.uri !== null ? identityOfUri(proof.uri) : identityNamed(proof.username)
        return identity === null ? REMOVED : { accepted: true, identity, proof }
      }
    }
  }

  const identityNamed = (username: string | null): Identity | null => {
    const credential = username === null ? null : credentials.find(username)
    return credential === null ? null : identityOf(credential)
  }

  const byCertificate = (certificate: X509Certificate): Authentication => {
    const proof = certificates.judge(certificate, wallMs())
    if (typeof proof === 'string') return { accepted: false, reason: proof }
    let outcome = recheck(proof)
    if (!outcome.accepted && proof.username !== null && credentials.reload()) outcome = recheck(proof)
    // A common name that is no username here says nothing.
    return outcome.accepted || outcome.reason !== 'login-removed'
      ? outcome
      : { accepted: false, reason: 'certificate-unfit' }
  }

  return {
    authenticate({ username, password }, { certificate, listener }) {
      if (certificate !== null) {
        const outcome = byCertificate(certificate)
        if (!outcome.accepted || password === undefined) return outcome
        const other = byPassword(username ?? '', password)
        return other.accepted && isSameIdentity(other.identity, outcome.identity) ? outcome : REFUSED
      }
      if (certificateRequired && listener === 'tls') return { accepted: false, reason: 'certificate-missing' }
      if (username !== undefined) return byPassword(username, password)
      if (!anonymousAllowed) return { accepted: false, reason: 'anonymous' }
      return { accepted: true, identity: { role: 'local' }, proof: { kind: 'local' } }
    },
    recheck,
  }
}

/** Whether both may do the same; a device is itself whatever its login is called. */
export function isSameIdentity(one: Identity, other: Identity): boolean {
  if (one.role === 'device') {
    return other.role === 'device' && one.siteId === other.siteId && one.serialNumber === other.serialNumber
  }
  if (one.role === 'local' || other.role === 'local') return one.role === other.role
  return one.role === other.role && one.username === other.username
}

/** Hashes for an unknown name too, so that the time taken does not tell which names exist. */
function proves(password: Uint8Array | undefined, credential: Credential | null): boolean {
  const shown = Buffer.from(hashSecret(password ?? ''), 'hex')
  const stored = Buffer.from(credential?.secretSha256 ?? UNKNOWN_SHA256, 'hex')
  return timingSafeEqual(shown, stored) && credential !== null
}

/** Tells whether a login has the secret that it had; of no use for anything else. */
function markOf({ secretSha256 }: Credential): string {
  return secretSha256.slice(0, 16)
}

export function identityOf(credential: Credential): Identity {
  const { username, role, siteId, serialNumber } = credential
  if (role !== 'device') return { role, username }
  return { role, username, siteId: siteId as number, serialNumber: serialNumber as string }
}
