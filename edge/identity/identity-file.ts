/**
 * What this gateway is known by: its key, its certificate and where the cloud is, in one file of the data directory, so
 * that a power cut leaves the old identity or the new one, never the key of one and the certificate of the other.
 */

import { existsSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { privacyHint, readChecked } from '../../shared/config/private-file.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { writeWhole } from '../../shared/whole-file.ts'

/** Certificates and keys in PEM. */
export interface EnrolledIdentity {
  readonly gatewayId: string
  /** API of the cloud, where a certificate that has ended can be renewed. */
  readonly url: string
  /** What the API is trusted by besides the authority and the system's certificates; null when nothing else. */
  readonly apiAuthority: string | null
  /** host:port that was told at enrolment; null when it was not. */
  readonly ingestAddress: string | null
  /** Name that the certificate of the cloud carries. */
  readonly serverName: string
  readonly privateKey: string
  /** The certificate, then what leads to the authority. */
  readonly certificate: string
  /** What the cloud is trusted by. */
  readonly authority: string
}

/** A key that the cloud may have signed already, though its answer did not arrive. */
export interface PendingKey {
  /** Of the token that it was made for. */
  readonly tokenId: string
  readonly privateKey: string
}

const IDENTITY = 'identity.json'
const PENDING = 'pending-key.json'

export class IdentityFile {
  readonly path: string
  private readonly pendingPath: string
  private version = ''
  private cached: EnrolledIdentity | null = null
  /** As of the last `look`; null before the first. */
  private seen: string | null = null
  private readonly listeners: (() => void)[] = []

  /** @param dir of its own, see dataPaths. */
  constructor(dir: string) {
    this.path = join(dir, IDENTITY)
    this.pendingPath = join(dir, PENDING)
  }

  /**
   * What the file holds now; null when this gateway is not enrolled.
   * @throws BusbarError IDENTITY_UNREADABLE, IDENTITY_EXPOSED
   */
  read(): EnrolledIdentity | null {
    const version = this.currentVersion()
    if (version === this.version) return this.cached
    this.cached = version === MISSING ? null : readIdentity(this.path)
    this.version = version
    return this.cached
  }

  /** Calls back when `look` finds another file than the time before. */
  onChanged(listener: () => void): void {
    this.listeners.push(listener)
  }

  /** Looks whether somebody wrote the file, this process or `busbar-edge enroll`. */
  look(): void {
    const version = this.currentVersion()
    const changed = this.seen !== null && this.seen !== version
    this.seen = version
    if (changed) for (const listener of this.listeners) listener()
  }

  /** Differs when the file does. */
  private currentVersion(): string {
    try {
      const { mtimeMs, size, ino, mode } = statSync(this.path)
      return `${mtimeMs}/${size}/${ino}/${mode}`
    } catch (error) {
      if (isMissing(error)) return MISSING
      throw unreadable(this.path, error)
    }
  }

  /** Durable when it returns. @throws BusbarError IDENTITY_NOT_WRITTEN */
  write(identity: EnrolledIdentity): void {
    writeJson(this.path, identity)
    rmSync(this.pendingPath, { force: true })
  }

  /** The key that was made for this token before; null when there is none, or it cannot be read any more. */
  pendingKey(tokenId: string): string | null {
    if (!existsSync(this.pendingPath)) return null
    try {
      const pending = readObject(this.pendingPath) as Partial<PendingKey>
      return pending.tokenId === tokenId && typeof pending.privateKey === 'string' ? pending.privateKey : null
    } catch {
      return null
    }
  }

  /** Durable when it returns. @throws BusbarError IDENTITY_NOT_WRITTEN */
  writePending(pending: PendingKey): void {
    writeJson(this.pendingPath, pending)
  }
}

const MISSING = 'missing'
const TEXTS = ['gatewayId', 'url', 'serverName', 'privateKey', 'certificate', 'authority'] as const
const TEXTS_OR_NULL = ['apiAuthority', 'ingestAddress'] as const

function readIdentity(path: string): EnrolledIdentity {
  const value = readObject(path)
  for (const name of TEXTS) if (typeof value[name] !== 'string') throw unreadable(path, new Error(`it has no ${name}`))
  for (const name of TEXTS_OR_NULL) {
    if (value[name] !== null && typeof value[name] !== 'string') throw unreadable(path, new Error(`it has no ${name}`))
  }
  return value as unknown as EnrolledIdentity
}

function readObject(path: string): Record<string, unknown> {
  let text: string
  let exposure: string | null
  try {
    ;({ text, exposure } = readChecked(path))
  } catch (error) {
    throw unreadable(path, error)
  }
  if (exposure !== null) {
    throw new BusbarError(`${path} holds the private key of this gateway and is a file that ${exposure}`, {
      code: 'IDENTITY_EXPOSED',
      hint: `${privacyHint(path)}. If somebody may have read it, revoke the gateway in the cloud and enrol it again.`,
    })
  }
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
    throw new Error('it is not an object')
  } catch {
    // Without what the parser says: it quotes the text, and a key may be in it.
    throw unreadable(path, new Error('it is not JSON'))
  }
}

function writeJson(path: string, value: object): void {
  try {
    writeWhole(path, `${JSON.stringify(value, null, 2)}\n`)
  } catch (cause) {
    throw new BusbarError(`cannot write ${path}: ${messageOf(cause)}`, {
      code: 'IDENTITY_NOT_WRITTEN',
      retryable: true,
      hint: 'Check that the disk is not full and that this user may write in gateway.dataDir, then try again.',
      cause,
    })
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}

function unreadable(path: string, cause: unknown): BusbarError {
  return new BusbarError(`cannot read the identity of this gateway in ${path}: ${messageOf(cause)}`, {
    code: 'IDENTITY_UNREADABLE',
    hint: 'Run as the user of busbar-edge, restore the file from a backup, or enrol again with a new token.',
    cause,
  })
}
