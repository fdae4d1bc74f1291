/** From what a client shows to who it is. Certificates will be another `Authenticator`. */

import { timingSafeEqual } from 'node:crypto'
import { type Credential, type CredentialFile, hashSecret } from './credentials.ts'
import type { Identity } from './topic-rules.ts'
import type { ListenerKind } from './transport.ts'

/** What is known of the way a client came in. */
export interface Arrival {
  readonly listener: ListenerKind
  readonly remoteAddress: string
  /** Subject of a client certificate that the listener verified; null without one. */
  readonly certificateSubject: string | null
}

export interface Login {
  readonly clientId: string
  readonly username: string | undefined
  readonly password: Uint8Array | undefined
}

export type Authentication =
  | { readonly accepted: true; readonly identity: Identity }
  | { readonly accepted: false; readonly reason: 'bad-credentials' | 'anonymous' }

export interface Authenticator {
  /** @throws BusbarError when it cannot tell; the client is then refused as "server unavailable". */
  authenticate(login: Login, arrival: Arrival): Authentication
}

const UNKNOWN_SHA256 = '00'.repeat(32)
const REFUSED: Authentication = { accepted: false, reason: 'bad-credentials' }

/** Logs in by username and secret; without a username only where anonymous clients are allowed. */
export function passwordAuthenticator(credentials: CredentialFile, anonymousAllowed: boolean): Authenticator {
  return {
    authenticate({ username, password }) {
      if (username === undefined) {
        if (!anonymousAllowed) return { accepted: false, reason: 'anonymous' }
        return { accepted: true, identity: { role: 'local' } }
      }
      let credential = credentials.find(username)
      let accepted = proves(password, credential)
      if (!accepted && credentials.reload()) {
        credential = credentials.find(username)
        accepted = proves(password, credential)
      }
      return accepted && credential !== null ? { accepted, identity: identityOf(credential) } : REFUSED
    },
  }
}

/** Hashes for an unknown name too, so that the time taken does not tell which names exist. */
function proves(password: Uint8Array | undefined, credential: Credential | null): boolean {
  const shown = Buffer.from(hashSecret(password ?? ''), 'hex')
  const stored = Buffer.from(credential?.secretSha256 ?? UNKNOWN_SHA256, 'hex')
  return timingSafeEqual(shown, stored) && credential !== null
}

function identityOf(credential: Credential): Identity {
  const { username, role, siteId, serialNumber } = credential
  if (role !== 'device') return { role, username }
  return { role, username, siteId: siteId as number, serialNumber: serialNumber as string }
}
