/**
 * The logins of a gateway, in one file. Secrets are made here, never chosen by people: 256 random bits need no slow hash, so
 * that a thousand devices may return at once. The file holds their SHA-256 only; it is written whole, by rename.
 */

import { createHash } from 'node:crypto'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { SERIAL_NUMBER_PATTERN } from '../../shared/mqtt-topics.ts'
import { type Random, randomBase64url } from '../../shared/random.ts'
import { writeWhole } from '../../shared/whole-file.ts'
import { USERNAME_PATTERN } from '../authority/certificate-name.ts'
import { readIfThere, WatchedFile } from '../authority/watched-file.ts'

export const CREDENTIAL_ROLES = ['device', 'observer', 'operator'] as const
export type CredentialRole = (typeof CREDENTIAL_ROLES)[number]

export interface Credential {
  readonly username: string
  readonly role: CredentialRole
  /** Of a device only. */
  readonly siteId?: number
  readonly serialNumber?: string
  /** Lower-case hexadecimal of the SHA-256 of the secret. */
  readonly secretSha256: string
  /** ISO 8601. */
  readonly createdAt: string
}

export type NewCredential =
  | {
      readonly role: 'device'
      readonly username?: string
      readonly siteId: number
      readonly serialNumber: string
    }
  | { readonly role: 'observer' | 'operator'; readonly username: string }

const SECRET_BYTES = 32
const SHA256_PATTERN = /^[0-9a-f]{64}$/

/** The SHA-256 of a secret as it is stored. */
export function hashSecret(secret: string | Uint8Array): string {
  return createHash('sha256').update(secret).digest('hex')
}

/**
 * The credentials in `file`, none when it does not exist.
 * @throws BusbarError CREDENTIALS_UNREADABLE
 */
export function listCredentials(file: string): Credential[] {
  try {
    const text = readIfThere(file)
    if (text === null) return []
    const parsed: unknown = JSON.parse(text)
    if (!Array.isArray(parsed)) throw new Error('it is not a list')
    return parsed.map(checkCredential)
  } catch (error) {
    throw unreadable(file, messageOf(error), error)
  }
}

/**
 * Adds a login with a new secret and returns both; the secret is nowhere else. The username of a device is
 * its serial number unless given.
 * @throws BusbarError CREDENTIAL_EXISTS, CREDENTIAL_INVALID, CREDENTIALS_UNREADABLE, CREDENTIALS_NOT_WRITTEN
 */
export function addCredential(
  file: string,
  wanted: NewCredential,
  tools: { readonly clock: Clock; readonly random: Random },
): { readonly credential: Credential; readonly secret: string } {
  const username = wanted.username ?? (wanted.role === 'device' ? wanted.serialNumber : '')
  const credentials = listCredentials(file)
  if (credentials.some((credential) => credential.username === username)) {
    throw new BusbarError(`a login named ${username} exists already`, {
      code: 'CREDENTIAL_EXISTS',
      hint: 'Remove it first to give it a new secret, or give this one a username of its own.',
    })
  }
  const secret = randomBase64url(tools.random, SECRET_BYTES)
  const credential: Credential = {
    username,
    role: wanted.role,
    ...(wanted.role === 'device' ? { siteId: wanted.siteId, serialNumber: wanted.serialNumber } : {}),
    secretSha256: hashSecret(secret),
    createdAt: new Date(tools.clock.wallMs()).toISOString(),
  }
  try {
    checkCredential(credential)
  } catch (error) {
    throw new BusbarError(`this login cannot be: ${messageOf(error)}`, {
      code: 'CREDENTIAL_INVALID',
      hint: 'A site is a positive number; names and serial numbers are letters, digits and . _ : - only.',
    })
  }
  writeCredentials(file, [...credentials, credential])
  return { credential, secret }
}

/**
 * Removes a login; false when there is none of that name. The running broker cuts its connections within a second or two.
 * @throws BusbarError CREDENTIALS_UNREADABLE, CREDENTIALS_NOT_WRITTEN
 */
export function removeCredential(file: string, username: string): boolean {
  const credentials = listCredentials(file)
  const rest = credentials.filter((credential) => credential.username !== username)
  if (rest.length === credentials.length) return false
  writeCredentials(file, rest)
  return true
}

function writeCredentials(file: string, credentials: readonly Credential[]): void {
  try {
    writeWhole(file, `${JSON.stringify(credentials, null, 2)}\n`)
  } catch (error) {
    throw new BusbarError(`cannot write ${file}: ${messageOf(error)}`, {
      code: 'CREDENTIALS_NOT_WRITTEN',
      hint: 'Run the command as the user that runs busbar-edge, and check that the disk is not full.',
      cause: error,
    })
  }
}

/**
 * The file, kept in memory and read again when its time or size changed: looked at once a second at most while logins
 * succeed, and before a login is refused, so that a login works as soon as it was added.
 */
export class CredentialFile {
  private readonly watched: WatchedFile<ReadonlyMap<string, Credential>>

  constructor(file: string, clock: Clock) {
    this.watched = new WatchedFile(file, clock, () => {
      return new Map(listCredentials(file).map((credential) => [credential.username, credential]))
    })
  }

  /**
   * The login named `username`.
   * @throws BusbarError CREDENTIALS_UNREADABLE; what was read before stays in force on the next call.
   */
  find(username: string): Credential | null {
    return this.watched.current().get(username) ?? null
  }

  /** Grows with each change that was read. */
  get generation(): number {
    return this.watched.generation
  }

  /** All there are. Throws as `find` does. */
  all(): Credential[] {
    return [...this.watched.current().values()]
  }

  /**
   * Looks at the file now; true when it had changed and was read.
   * @throws BusbarError CREDENTIALS_UNREADABLE
   */
  reload(): boolean {
    return this.watched.reload()
  }
}

function checkCredential(value: unknown): Credential {
  const credential = value as Credential
  const fail = (what: string): never => {
    throw new Error(`${what} of ${JSON.stringify(credential?.username ?? value)} is not valid`)
  }
  if (typeof credential?.username !== 'string' || !USERNAME_PATTERN.test(credential.username)) fail('the username')
  if (!CREDENTIAL_ROLES.includes(credential.role)) fail('the role')
  if (typeof credential.secretSha256 !== 'string' || !SHA256_PATTERN.test(credential.secretSha256))
    fail('the secret hash')
  if (credential.role === 'device') {
    const { siteId, serialNumber } = credential
    if (!Number.isInteger(siteId) || (siteId as number) < 1 || (siteId as number) > 999_999_999) fail('the site')
    if (typeof serialNumber !== 'string' || !SERIAL_NUMBER_PATTERN.test(serialNumber)) fail('the serial number')
  }
  return credential
}

function unreadable(file: string, reason: string, cause: unknown): BusbarError {
  return new BusbarError(`cannot read the logins in ${file}: ${reason}`, {
    code: 'CREDENTIALS_UNREADABLE',
    hint: 'Restore the file from a backup, or remove it and add the devices again.',
    cause,
  })
}
