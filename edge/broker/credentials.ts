/**
 * The logins of a gateway, in one file. Secrets are made here, never chosen by people: 256 random bits need no slow hash, so
 * that a thousand devices may return at once. The file holds their SHA-256 only; it is written whole, by rename.
 */

import { createHash } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fchownSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { SERIAL_NUMBER_PATTERN } from '../../shared/mqtt-topics.ts'
import type { Random } from '../../shared/random.ts'

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
const CHECK_MS = 1000
const USERNAME_PATTERN = /^[A-Za-z0-9._:@-]{1,128}$/
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
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if (isMissing(error)) return []
    throw unreadable(file, messageOf(error), error)
  }
  try {
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
  const secret = Buffer.from(tools.random.bytes(SECRET_BYTES)).toString('base64url')
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
 * Removes a login; false when there is none of that name. Connections that are open stay open.
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
  const temporary = `${file}.tmp`
  try {
    mkdirSync(dirname(file), { recursive: true })
    rmSync(temporary, { force: true })
    const handle = openSync(temporary, 'wx', 0o600)
    try {
      if (process.getuid?.() === 0) {
        // Under sudo the file must stay readable to the user that runs the service.
        const { uid, gid } = statSync(existsSync(file) ? file : dirname(file))
        fchownSync(handle, uid, gid)
      }
      writeSync(handle, `${JSON.stringify(credentials, null, 2)}\n`)
      fsyncSync(handle)
    } finally {
      closeSync(handle)
    }
    renameSync(temporary, file)
    // Without this the rename itself may be lost in a power cut.
    const directory = openSync(dirname(file), 'r')
    try {
      fsyncSync(directory)
    } finally {
      closeSync(directory)
    }
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
  private readonly file: string
  private readonly clock: Clock
  private byUsername = new Map<string, Credential>()
  private version = ''
  private checkedMs = Number.NEGATIVE_INFINITY

  constructor(file: string, clock: Clock) {
    this.file = file
    this.clock = clock
  }

  /**
   * The login named `username`.
   * @throws BusbarError CREDENTIALS_UNREADABLE; what was read before stays in force on the next call.
   */
  find(username: string): Credential | null {
    if (this.clock.monotonicMs() - this.checkedMs >= CHECK_MS) this.reload()
    return this.byUsername.get(username) ?? null
  }

  /**
   * Looks at the file now; true when it had changed and was read.
   * @throws BusbarError CREDENTIALS_UNREADABLE
   */
  reload(): boolean {
    this.checkedMs = this.clock.monotonicMs()
    const version = fileVersion(this.file)
    if (version === this.version) return false
    this.byUsername = new Map(listCredentials(this.file).map((credential) => [credential.username, credential]))
    this.version = version
    return true
  }
}

function fileVersion(file: string): string {
  try {
    const { mtimeMs, size, ino } = statSync(file)
    return `${mtimeMs}/${size}/${ino}`
  } catch (error) {
    if (isMissing(error)) return 'missing'
    throw unreadable(file, messageOf(error), error)
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

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}

function unreadable(file: string, reason: string, cause: unknown): BusbarError {
  return new BusbarError(`cannot read the logins in ${file}: ${reason}`, {
    code: 'CREDENTIALS_UNREADABLE',
    hint: 'Restore the file from a backup, or remove it and add the devices again.',
    cause,
  })
}
