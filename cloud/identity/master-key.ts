/**
 * The master key: what a core signs logins with and seals its stored secrets under. It lies in a file beside the database,
 * never in it, so that a copy of the database alone opens nothing.
 */

import { createCipheriv, createDecipheriv, createHash, hkdfSync } from 'node:crypto'
import { privacyHint, readChecked } from '../../shared/config/private-file.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import { writeWhole } from '../../shared/whole-file.ts'

/** What a key is derived for: one that leaks through one use is of no use for another. */
export type KeyPurpose =
  | 'access-token'
  | 'activity'
  | 'activity-address'
  | 'activity-chain'
  | 'authority'
  | 'challenge'
  | 'oidc-state'

/** A key for one purpose. */
export interface DerivedKey {
  /** Tells keys apart and says nothing of them: a hash of this key. */
  readonly id: string
  readonly secret: Uint8Array
}

const KEY_BYTES_MIN = 32
const KEY_BYTES_MAX = 1_024
const KEYS_MAX = 16
const DERIVED_BYTES = 32
const SALT = 'busbar master key'
const NONCE_BYTES = 12
const SEALED_FORM = 's1'

export class MasterKey {
  private readonly keys: readonly Uint8Array[]
  private readonly random: Random
  private readonly derived = new Map<KeyPurpose, readonly [DerivedKey, ...DerivedKey[]]>()

  /** @param keys the first for what is new, all for what is there. */
  constructor(keys: readonly Uint8Array[], random: Random) {
    this.keys = keys
    this.random = random
  }

  /** One key of each in the file, in the same order: sign with the first, take signatures of any. */
  derive(purpose: KeyPurpose): readonly [DerivedKey, ...DerivedKey[]] {
    const known = this.derived.get(purpose)
    if (known !== undefined) return known
    const all = this.keys.map((key): DerivedKey => {
      const secret = new Uint8Array(hkdfSync('sha256', key, SALT, purpose, DERIVED_BYTES))
      return { id: createHash('sha256').update(secret).digest('base64url').slice(0, 12), secret }
    }) as [DerivedKey, ...DerivedKey[]]
    this.derived.set(purpose, all)
    return all
  }

  /** Text that only `open` with the same purpose reads, and that nobody can change unnoticed (AES-256-GCM). */
  seal(purpose: KeyPurpose, text: string): string {
    const [{ id, secret }] = this.derive(purpose)
    const nonce = this.random.bytes(NONCE_BYTES)
    const cipher = createCipheriv('aes-256-gcm', secret, nonce).setAAD(Buffer.from(purpose))
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
    return [SEALED_FORM, id, Buffer.from(nonce).toString('base64url'), sealed.toString('base64url')].join('.')
  }

  /** @throws BusbarError MASTER_KEY_MISSING when no key of the file sealed it; SEALED_TEXT_INVALID when it was changed. */
  open(purpose: KeyPurpose, sealed: string): string {
    const [form, id, nonceText = '', bodyText = ''] = sealed.split('.')
    const nonce = Buffer.from(nonceText, 'base64url')
    const body = Buffer.from(bodyText, 'base64url')
    const tagAt = body.length - 16
    if (form !== SEALED_FORM || nonce.length !== NONCE_BYTES || tagAt < 0) throw damaged()
    const key = this.derive(purpose).find((each) => each.id === id)
    if (key === undefined) {
      throw new BusbarError('the master key that something stored was sealed with is not in the file', {
        code: 'MASTER_KEY_MISSING',
        hint: 'Put the key that was used before back into identity.masterKeyFile, as another line.',
      })
    }
    try {
      const decipher = createDecipheriv('aes-256-gcm', key.secret, nonce, { authTagLength: 16 })
        .setAAD(Buffer.from(purpose))
        .setAuthTag(body.subarray(tagAt))
      return Buffer.concat([decipher.update(body.subarray(0, tagAt)), decipher.final()]).toString('utf8')
    } catch (cause) {
      throw damaged(cause)
    }
  }
}

/**
 * The keys in `file`; makes the file, with one new key, when there is none. Two cores that start at once come to the same key.
 * @throws BusbarError MASTER_KEY_UNREADABLE, MASTER_KEY_EXPOSED, MASTER_KEY_INVALID
 */
export function openMasterKey(file: string, random: Random): MasterKey {
  try {
    return readMasterKey(file, random)
  } catch (error) {
    if (!(error instanceof BusbarError && isAbsent(error.cause))) throw error
  }
  try {
    create(file, random)
  } catch (cause) {
    throw unreadable(file, cause, 'make')
  }
  return readMasterKey(file, random)
}

function readMasterKey(file: string, random: Random): MasterKey {
  let text: string
  let exposure: string | null
  try {
    ;({ text, exposure } = readChecked(file))
  } catch (cause) {
    throw unreadable(file, cause, 'read')
  }
  if (exposure !== null) {
    throw new BusbarError(`the master key ${file} is no secret: ${exposure}`, {
      code: 'MASTER_KEY_EXPOSED',
      hint: `${privacyHint(file)}. When others may have read it, put a new key in its first line.`,
    })
  }
  return new MasterKey(keysIn(text, file), random)
}

/** Never over one that is there. */
function create(file: string, random: Random): void {
  const text = `${Buffer.from(random.bytes(KEY_BYTES_MIN)).toString('base64')}\n`
  try {
    writeWhole(file, text, { overwrite: false, draft: randomHex(random, 8) })
  } catch (error) {
    // Another core was first: its key is the key.
    if (codeOf(error) !== 'EEXIST') throw error
  }
}

function keysIn(text: string, file: string): Uint8Array[] {
  const lines = text.split('\n').map((line) => line.trim())
  const found = readKeys(lines.filter((line) => line !== '' && !line.startsWith('#')))
  if (found.fault === undefined) return [...found.keys]
  throw new BusbarError(`the master key file ${file} ${found.fault}`, {
    code: 'MASTER_KEY_INVALID',
    hint: `It holds 1 to ${KEYS_MAX} lines of ${KEY_BYTES_MIN} random bytes or more in base64: openssl rand -base64 32`,
  })
}

/**
 * Keys as they are written down, in base64; or what is wrong with them, in words that follow the name of where they are
 * from. What stands there is a secret even when it is wrong: the words name its place and no more.
 */
export function readKeys(
  texts: readonly string[],
): { readonly keys: readonly Uint8Array[]; readonly fault?: undefined } | { readonly fault: string } {
  const wrong = texts.findIndex((text) => {
    const { length } = Buffer.from(text, 'base64')
    return !/^[A-Za-z0-9+/]+={0,2}$/.test(text) || length < KEY_BYTES_MIN || length > KEY_BYTES_MAX
  })
  if (wrong >= 0) return { fault: `has something else than a key as key ${wrong + 1}` }
  if (texts.length < 1 || texts.length > KEYS_MAX) return { fault: `has ${texts.length} keys` }
  return { keys: texts.map((text) => Buffer.from(text, 'base64')) }
}

function unreadable(file: string, cause: unknown, what: 'read' | 'make'): BusbarError {
  return new BusbarError(`cannot ${what} the master key ${file}: ${messageOf(cause)}`, {
    code: 'MASTER_KEY_UNREADABLE',
    hint: 'Set identity.masterKeyFile to a file that this user may read, in a directory where it may be made.',
    cause,
  })
}

function damaged(cause?: unknown): BusbarError {
  return new BusbarError('something that was stored sealed has been changed, or is of another purpose', {
    code: 'SEALED_TEXT_INVALID',
    hint: 'Restore the database from a backup.',
    cause,
  })
}

function isAbsent(error: unknown): boolean {
  return codeOf(error) === 'ENOENT'
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null | undefined)?.code
}
