/** Who may come in, and under which client id. */

import { messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { Connection } from './connection.ts'
import type { RefusalReason } from './counters.ts'
import type { Authenticator, Proof } from './device-identity.ts'
import { CONNACK, type EngineClient } from './engine.ts'
import type { Gate } from './gate.ts'
import type { SessionRegister } from './persistence/session-register.ts'
import { type Identity, mayPublish, ownerOf } from './topic-rules.ts'

export interface AdmissionOptions {
  readonly authenticator: Authenticator
  readonly sessions: SessionRegister
  readonly gate: Gate
  /** Connections of one login; anonymous clients are not counted as one. */
  readonly connectionsPerLoginMax: number
  readonly log: Logger
}

/** Null lets the client in; otherwise the CONNACK return code, and the reason unless it is the broker's own trouble. */
export type Refusal = { readonly code: number; readonly reason: RefusalReason | null } | null

/** A clock that is wrong, here or where the certificate was made, is nobody's attack. */
const INNOCENT: ReadonlySet<RefusalReason> = new Set(['expired', 'not-yet-valid'])

export class Admission {
  private readonly options: AdmissionOptions
  /** Client ids in use and whose they are. */
  private readonly claims = new Map<string, { readonly owner: string; connections: number }>()
  /** By owner. */
  private readonly connections = new Map<string, number>()

  constructor(options: AdmissionOptions) {
    this.options = options
  }

  /** Judges a CONNECT; when it lets the client in, its client id is claimed until `release`. */
  admit(
    connection: Connection,
    client: EngineClient,
    username: string | undefined,
    password: Buffer | undefined,
  ): Refusal {
    const { request, transport } = connection
    if (request === null) return { code: CONNACK.notAuthorized, reason: 'protocol-error' }
    // [MQTT-3.1.3-8]: an empty client id has no session to come back to.
    if (request.clientId === '' && !request.cleanSession) {
      return { code: CONNACK.identifierRejected, reason: 'client-id-missing' }
    }
    const { authenticator, gate } = this.options
    const { certificate, kind, visit } = transport
    // What is locked is what was shown, so that others at the address are not concerned.
    const who = certificate?.fingerprint256 ?? username ?? ''
    if (gate.isLocked(visit.remoteAddress, who)) return { code: CONNACK.notAuthorized, reason: 'locked-out' }
    let identity: Identity
    let proof: Proof | null
    try {
      const login = { clientId: client.id, username, password }
      const { remoteAddress } = visit
      const outcome = authenticator.authenticate(login, { listener: kind, remoteAddress, certificate })
      if (!outcome.accepted) {
        const { reason } = outcome
        if (!INNOCENT.has(reason)) gate.loginFailed(remoteAddress, who)
        return { code: reason === 'bad-credentials' ? CONNACK.badCredentials : CONNACK.notAuthorized, reason }
      }
      gate.loginSucceeded(remoteAddress, who)
      identity = outcome.identity
      proof = outcome.proof ?? null
    } catch (error) {
      this.options.log.error({ error: messageOf(error) }, 'logins cannot be checked')
      return { code: CONNACK.serverUnavailable, reason: null }
    }
    if (request.will !== null && !mayPublish(identity, request.will.topic).allowed) {
      return { code: CONNACK.notAuthorized, reason: 'will-denied' }
    }
    const owner = ownerOf(identity)
    // With one stolen login nobody fills all the places of the others.
    const isOneTooMany = (this.connections.get(owner) ?? 0) >= this.options.connectionsPerLoginMax
    if (isOneTooMany && identity.role !== 'local' && !this.claims.has(client.id)) {
      return { code: CONNACK.serverUnavailable, reason: 'login-connections' }
    }
    if (!this.claim(client.id, owner)) return { code: CONNACK.identifierRejected, reason: 'client-id-taken' }
    connection.identity = identity
    connection.proof = proof
    connection.output.sessionPresent = this.options.sessions.open(client.id, owner, client.clean)
    return null
  }

  /** The client is gone; its session, if it keeps one, counts as away unless a successor took it over. */
  release(clientId: string): void {
    const claim = this.claims.get(clientId)
    if (claim === undefined) return
    const others = (this.connections.get(claim.owner) ?? 1) - 1
    if (others > 0) this.connections.set(claim.owner, others)
    else this.connections.delete(claim.owner)
    if (--claim.connections > 0) return
    this.claims.delete(clientId)
    this.options.sessions.close(clientId)
  }

  /** A client id belongs to who used it first: another one may neither cut its connection nor read its session. */
  private claim(clientId: string, owner: string): boolean {
    const claim = this.claims.get(clientId)
    const holder = claim?.owner ?? this.options.sessions.ownerOf(clientId) ?? owner
    if (holder !== owner) return false
    if (claim === undefined) this.claims.set(clientId, { owner, connections: 1 })
    else claim.connections++
    this.connections.set(owner, (this.connections.get(owner) ?? 0) + 1)
    return true
  }
}
