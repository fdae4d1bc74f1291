/**
 * Who may what at this moment: logins, certificates and revocations, followed while the broker runs. Whoever loses a right
 * loses the connection that came by it, and what was left for later.
 */

import type { Clock } from '../../shared/clock.ts'
import { ComplaintLimit } from '../../shared/complaint-limit.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { listIssued, readAuthorityCertificate } from '../authority/authority-files.ts'
import { uriOf } from '../authority/certificate-name.ts'
import { Revocations } from '../authority/revocations.ts'
import { ClientCertificates, identityOfUri } from './client-certificates.ts'
import type { RefusalReason } from './counters.ts'
import { CredentialFile } from './credentials.ts'
import { type Authenticator, identityOf, isSameIdentity, loginAuthenticator, type Proof } from './device-identity.ts'
import { type Identity, mayPublish, ownerOf } from './topic-rules.ts'

export interface RightsOptions {
  /** The file of logins; it need not exist. */
  readonly credentialsFile: string
  /** Where the authority of the site is, if there is one, and what it revoked. */
  readonly authorityDir: string
  /** PEM of those who sign certificates of clients besides it. */
  readonly otherAuthorities: string
  readonly certificateRequired: boolean
  readonly insecure: boolean
  /** Asked instead of all this. */
  readonly authenticator?: Authenticator | undefined
  readonly clock: Clock
  readonly log: Logger
}

/** What a look at the files found. */
export interface RightsChange {
  /** Connections have to be judged again. */
  readonly changed: boolean
  /** Owners of sessions that have neither login nor certificate any more. */
  readonly goneOwners: readonly string[]
}

const NOTHING: RightsChange = { changed: false, goneOwners: [] }

export class Rights {
  readonly authenticator: Authenticator
  private readonly credentials: CredentialFile
  private readonly certificates: ClientCertificates
  private readonly revocations: Revocations
  private readonly authorityDir: string
  private readonly log: Logger
  private readonly complaints: ComplaintLimit
  /** Who had a login at the last look, or has used one since. */
  private owners: Set<string>
  private generation: number

  /** Reads everything, since a broken file is better known now than at the first login. */
  constructor(options: RightsOptions) {
    const { credentialsFile, authorityDir, otherAuthorities, clock, log } = options
    this.authorityDir = authorityDir
    this.log = log
    this.complaints = new ComplaintLimit(clock)
    this.credentials = new CredentialFile(credentialsFile, clock)
    this.revocations = new Revocations(authorityDir, clock)
    this.owners = this.ownersNow()
    this.revocations.reload()
    this.generation = this.credentials.generation + this.revocations.generation
    const siteAuthority = readAuthorityCertificate(authorityDir)
    this.certificates = new ClientCertificates({ siteAuthority, otherAuthorities }, this.revocations)
    this.authenticator =
      options.authenticator ??
      this.noting(
        loginAuthenticator({
          credentials: this.credentials,
          certificates: this.certificates,
          certificateRequired: options.certificateRequired,
          anonymousAllowed: options.insecure,
          wallMs: () => clock.wallMs(),
        }),
      )
  }

  /** PEM of those whose certificates let clients in. */
  get clientAuthorities(): string[] {
    return this.certificates.pem
  }

  /** Looks at the files, which costs a few microseconds while they did not change. */
  look(): RightsChange {
    try {
      this.credentials.reload()
      this.revocations.reload()
      // A login may have looked before, and found the change.
      const generation = this.credentials.generation + this.revocations.generation
      if (generation === this.generation) return NOTHING
      this.generation = generation
      const before = this.owners
      this.owners = this.ownersNow()
      const gone = [...before].filter((owner) => !this.owners.has(owner))
      const certified = gone.length > 0 ? this.certifiedOwners() : this.owners
      return { changed: true, goneOwners: gone.filter((owner) => !certified.has(owner)) }
    } catch (error) {
      // What was read before stays in force.
      if (this.complaints.isDue()) this.log.error({ error: messageOf(error) }, 'logins cannot be read')
      return NOTHING
    }
  }

  /** The owner of a stored session as it is named today: devices once owned theirs by the username of their login. */
  ownerToday(owner: string): string {
    const credential = owner.startsWith('user:') ? this.credentials.find(owner.slice('user:'.length)) : null
    return credential?.role === 'device' ? ownerOf(identityOf(credential)) : owner
  }

  /** Why someone who was let in as `identity` may not be here any more; null while he may. */
  lost(identity: Identity, proof: Proof): RefusalReason | null {
    const now = this.recheck(proof)
    if (now === null) return null
    if (!now.accepted) return now.reason
    return isSameIdentity(now.identity, identity) ? null : 'rights-changed'
  }

  /** Whether a last will may be published now, by the rights of who left it; one from before they were noted may. */
  mayWill(will: { readonly topic: string; readonly proof?: unknown }): boolean {
    if (will.proof === undefined) return true
    const now = this.recheck(will.proof as Proof)
    return now === null || (now.accepted && mayPublish(now.identity, will.topic).allowed)
  }

  /** Null where it cannot be told. */
  private recheck(proof: Proof): ReturnType<NonNullable<Authenticator['recheck']>> | null {
    try {
      return this.authenticator.recheck?.(proof) ?? null
    } catch {
      return null
    }
  }

  /** A login that comes and goes between two looks leaves sessions as well. */
  private noting(logins: Authenticator): Authenticator {
    return {
      ...logins,
      authenticate: (login, arrival) => {
        const outcome = logins.authenticate(login, arrival)
        if (outcome.accepted && outcome.proof?.kind === 'password') this.owners.add(ownerOf(outcome.identity))
        return outcome
      },
    }
  }

  private ownersNow(): Set<string> {
    return new Set(this.credentials.all().map((credential) => ownerOf(identityOf(credential))))
  }

  /** Who has a certificate of the site that counts; where that cannot be told, everyone has. */
  private certifiedOwners(): { has(owner: string): boolean } {
    try {
      const good = listIssued(this.authorityDir).filter(({ number }) => !this.revocations.has(number))
      return new Set(good.flatMap(({ name }) => identityOfUri(uriOf(name)) ?? []).map(ownerOf))
    } catch {
      return { has: () => true }
    }
  }
}
