/**
 * Seals what is sensitive of an entry's metadata (AES-256-GCM), under a key of the day that is derived from the first key:
 * nonces are random, and one key for all days would see too many of them. A sealed text says which key and which day, so
 * a new key is put in front and nothing is written again.
 */

import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto'
import { putLast } from '../../shared/bounded.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { Random } from '../../shared/random.ts'
import type { DerivedKey } from '../identity/identity.ts'
import { type ActivityKeys, sealingKey } from './activity-keys.ts'

type Members = Readonly<Record<string, unknown>>

const FORM = 'a1'
const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_BYTES = 32
const SALT = 'busbar activity of a day'
/** Derived keys that are remembered: reading goes from day to day. */
const DAY_KEYS_MAX = 64

export class ActivitySeal {
  private readonly keys: ActivityKeys
  private readonly random: Random
  private readonly dayKeys = new Map<string, Uint8Array>()

  constructor(keys: ActivityKeys, random: Random) {
    this.keys = keys
    this.random = random
  }

  /** @param day of storing, such as 2026-01-31; it chooses the key and nothing else. */
  seal(eventId: string, day: string, members: Members): string {
    const [key] = this.keys.sealing
    const nonce = this.random.bytes(NONCE_BYTES)
    const cipher = createCipheriv('aes-256-gcm', this.dayKey(key, day), nonce).setAAD(Buffer.from(eventId))
    const sealed = Buffer.concat([cipher.update(JSON.stringify(members), 'utf8'), cipher.final(), cipher.getAuthTag()])
    return `${FORM}.${key.id}.${day}.${Buffer.from(nonce).toString('base64url')}.${sealed.toString('base64url')}`
  }

  /**
   * @throws BusbarError ACTIVITY_KEY_MISSING when the key is not there; SEALED_TEXT_INVALID when the text was changed or is
   * another entry's.
   */
  open(eventId: string, sealed: string): Members {
    const [form, keyId = '', day = '', nonceText = '', bodyText = ''] = sealed.split('.')
    const nonce = Buffer.from(nonceText, 'base64url')
    const body = Buffer.from(bodyText, 'base64url')
    const tagAt = body.length - TAG_BYTES
    if (form !== FORM || nonce.length !== NONCE_BYTES || tagAt < 0) throw damaged(eventId)
    const key = this.dayKey(sealingKey(keyId, this.keys, eventId), day)
    try {
      const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
        .setAAD(Buffer.from(eventId))
        .setAuthTag(body.subarray(tagAt))
      const text = Buffer.concat([decipher.update(body.subarray(0, tagAt)), decipher.final()]).toString('utf8')
      return JSON.parse(text) as Members
    } catch (cause) {
      throw damaged(eventId, cause)
    }
  }

  private dayKey({ id, secret }: DerivedKey, day: string): Uint8Array {
    const name = `${id} ${day}`
    const known = this.dayKeys.get(name)
    if (known !== undefined) return known
    const derived = new Uint8Array(hkdfSync('sha256', secret, SALT, day, KEY_BYTES))
    putLast(this.dayKeys, name, derived, DAY_KEYS_MAX)
    return derived
  }
}

function damaged(eventId: string, cause?: unknown): BusbarError {
  return new BusbarError(`what is sealed of the entry ${eventId} has been changed`, {
    code: 'SEALED_TEXT_INVALID',
    hint: 'See what else was changed: busbar-cloud activity verify',
    cause,
  })
}
