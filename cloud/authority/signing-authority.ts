/**
 * The authority of this cloud: the operator's, or the one that Busbar made for itself, whose key the database has under seal; and
 * the certificates of the core that hang on it.
 */

import type { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { certificatesIn } from '../../shared/certificates.ts'
import type { Clock } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { MasterKey } from '../identity/identity.ts'
import { AuthorityStore } from './authority-store.ts'
import { INGEST_SERVER_NAME, isSelfSigned, makeAuthority, pemOf, type ServerCertificate } from './certificate.ts'
import { authorityInvalid, notIssuing } from './errors.ts'
import { type AuthorityFiles, Issuer } from './issuer.ts'

/** Certificates and a key that the config names, in PEM. */
export interface PemFiles {
  readonly cert?: string
  readonly key?: string
  readonly ca?: string
}

/** What a listener shows, PEM. */
export interface ListenerTls {
  readonly cert: string
  readonly key: string
}

export interface AuthorityOptions {
  readonly database: DatabaseHandle
  /** Read when it is needed: an authority of the operator's has no use for it. */
  readonly masterKey: () => Pick<MasterKey, 'seal' | 'open'>
  /** The operator's authority; null makes one. */
  readonly own: AuthorityFiles | null
  /** Of the ingest's own certificate; read anew when it is asked for, so that a renewed file counts. */
  readonly ingestFiles: () => PemFiles
  /** Names and addresses under which people and gateways reach this core, beside loopback. */
  readonly hosts: readonly string[]
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

const AUTHORITY_DAYS = 20 * 365
/** Certificates of this core: what browsers take at most of an authority that was installed by hand. */
const SERVER_DAYS = 825
/** A clock that is behind by a day still takes a new authority. */
const BACKDATED_MS = DAY_MS
const EVERYWHERE = [INGEST_SERVER_NAME, 'localhost', '127.0.0.1', '::1']

export class Authority implements Part {
  readonly name = 'authority'
  private readonly options: AuthorityOptions
  private readonly store: AuthorityStore
  private opened: Issuer | null = null
  private starting: Promise<void> | null = null
  private server: Promise<ServerCertificate> | null = null
  /** Authorities beside ours whose gateways are taken. */
  private elsewhere: readonly X509Certificate[] = []

  constructor(options: AuthorityOptions) {
    this.options = options
    this.store = new AuthorityStore(options.database)
  }

  /** After the database. @throws BusbarError AUTHORITY_INVALID, MASTER_KEY_MISSING, DATABASE_UNAVAILABLE */
  start(): Promise<void> {
    this.starting ??= this.open()
    return this.starting
  }

  async stop(): Promise<void> {}

  /** From `start` on. */
  get issuer(): Issuer {
    if (this.opened === null) throw new Error('the authority was not started')
    return this.opened
  }

  /** @throws IdentityError AUTHORITY_CANNOT_ISSUE when gateways bring certificates from elsewhere. */
  requireIssuing(): void {
    if (!this.issuer.canIssue) throw notIssuing()
  }

  /**
   * What the ingest shows and what gateways are trusted by. Asked for again now and then: a file that was renewed, or a
   * certificate of ours near its end, is followed without a restart.
   * @throws BusbarError AUTHORITY_INVALID, CONFIG_FILE_UNREADABLE
   */
  async ingestTls(): Promise<ListenerTls & { readonly ca: string }> {
    const { cert, key, ca = '' } = this.options.ingestFiles()
    this.elsewhere = readAuthorities(ca)
    const shown = cert === undefined || key === undefined ? await this.listenerTls() : { cert, key }
    return { ...shown, ca: `${this.issuer.trustPem}${ca}` }
  }

  /**
   * Whose certificates count: what hangs on the same root may be anybody's, so a certificate must be signed by one of these
   * itself.
   */
  signers(): { readonly ours: X509Certificate | null; readonly elsewhere: readonly X509Certificate[] } {
    const { issues, signing } = this.issuer
    return { ours: issues, elsewhere: issues === null ? [signing, ...this.elsewhere] : this.elsewhere }
  }

  /** A certificate of ours for this core, the same until a third of its life is left. @throws BusbarError AUTHORITY_INVALID */
  async listenerTls(): Promise<ListenerTls> {
    const { hosts, clock } = this.options
    if (!this.issuer.canIssue) {
      const hint = 'Set ingest.tls.certFile and keyFile (and those of api.tls), or authority.keyFile.'
      throw authorityInvalid('there is no certificate for this core, and no key to make one', hint)
    }
    const current = (await this.server?.catch(() => null)) ?? null
    const leftMs = (current?.notAfterMs ?? 0) - clock.wallMs()
    if (current === null || leftMs * 3 < current.notAfterMs - current.notBeforeMs) {
      const names = [...EVERYWHERE, ...hosts.filter(fitsCertificate)]
      this.server = this.issuer.server(names, SERVER_DAYS * DAY_MS, clock.wallMs())
    }
    const { cert, key } = (await this.server) as ServerCertificate
    return { cert, key }
  }

  /** What gateways are to trust the cloud by, PEM: the root, and what the ingest's own certificate hangs on. */
  gatewaysTrustPem(): string {
    const above = this.ingestChain().filter((certificate) => certificate.ca || isSelfSigned(certificate))
    const own = this.issuer.anchor.fingerprint256
    const others = above.filter((certificate) => certificate.fingerprint256 !== own)
    return this.issuer.anchorPem + others.map((certificate) => pemOf(certificate.raw)).join('')
  }

  /** The name that gateways find in the certificate of the ingest. */
  serverName(): string {
    const [certificate] = this.ingestChain()
    if (certificate === undefined || certificate.checkHost(INGEST_SERVER_NAME) !== undefined) return INGEST_SERVER_NAME
    const known = this.options.hosts.find((host) => isIP(host) === 0 && certificate.checkHost(host) !== undefined)
    return known ?? /DNS:([^,\s"]+)/.exec(certificate.subjectAltName ?? '')?.[1] ?? INGEST_SERVER_NAME
  }

  private ingestChain(): X509Certificate[] {
    const { cert } = this.options.ingestFiles()
    return cert === undefined ? [] : certificatesIn(cert)
  }

  private async open(): Promise<void> {
    const { own, clock, random } = this.options
    this.opened = await Issuer.open(own ?? (await this.storedOrNew()), clock.wallMs(), random)
  }

  /** Of two cores that start at once one makes it, and both have it. */
  private async storedOrNew(): Promise<AuthorityFiles> {
    const { masterKey, clock, random, log } = this.options
    const sealer = masterKey()
    let stored = await this.store.find()
    if (stored === null) {
      const nowMs = clock.wallMs()
      const life = { notBeforeMs: nowMs - BACKDATED_MS, notAfterMs: nowMs + AUTHORITY_DAYS * DAY_MS }
      const made = await makeAuthority(life, random)
      const sealedKey = sealer.seal('authority', made.keyPem)
      stored = await this.store.insert({ certificatePem: made.certificatePem, sealedKey }, nowMs)
      if (stored.sealedKey === sealedKey) log.info({}, 'an authority for the certificates of gateways was made')
    }
    const key = sealer.open('authority', stored.sealedKey)
    await this.sealAnew(sealer, key, stored.sealedKey)
    return { certificates: stored.certificatePem, key }
  }

  /** Once the master key has a new first line, so that the old one can go. */
  private async sealAnew(sealer: Pick<MasterKey, 'seal'>, key: string, sealed: string): Promise<void> {
    const anew = sealer.seal('authority', key)
    if (keyIdOf(anew) !== keyIdOf(sealed)) await this.store.replaceKey(sealed, anew)
  }
}

function readAuthorities(pem: string): X509Certificate[] {
  try {
    return certificatesIn(pem)
  } catch (cause) {
    throw authorityInvalid('ingest.tls.caFile holds something that is no certificate', 'Put only PEM in it.', cause)
  }
}

/** The second part of what was sealed names the key. */
function keyIdOf(sealed: string): string | undefined {
  return sealed.split('.')[1]
}

function fitsCertificate(host: string): boolean {
  return isIP(host) !== 0 || /^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$/.test(host)
}
