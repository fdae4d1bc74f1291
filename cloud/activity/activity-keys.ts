/** The keys of the activity log: for what is sealed, for the chain, and for addresses that are remembered. */

import { createHmac } from 'node:crypto'
import { BusbarError } from '../../shared/errors.ts'
import type { Random } from '../../shared/random.ts'
import { type DerivedKey, MasterKey, openMasterKey, readKeys } from '../identity/identity.ts'
import { type DayRow, isGenuine } from './chain.ts'
import { keysWritten } from './written-keys.ts'

/** One a key that is there, the first for what is new. */
export type KeyRing = readonly [DerivedKey, ...DerivedKey[]]

export interface ActivityKeys {
  /** Setting that they come from, for hints. */
  readonly setting: string
  readonly sealing: KeyRing
  readonly chain: KeyRing
  readonly address: KeyRing
}

/** Of the config, what the keys come from. */
export interface ActivityKeySettings {
  readonly activity: { readonly keys: string }
  readonly identity: { readonly masterKeyFile: string }
}

/**
 * Those in `activity.keys`, or else the master key, which is made where there is none.
 * @throws BusbarError ACTIVITY_KEYS_INVALID, MASTER_KEY_UNREADABLE, MASTER_KEY_EXPOSED, MASTER_KEY_INVALID
 */
export function openActivityKeys({ activity, identity }: ActivityKeySettings, random: Random): ActivityKeys {
  const { keys } = activity
  if (keys.trim() === '') return activityKeysOf(openMasterKey(identity.masterKeyFile, random), 'identity.masterKeyFile')
  const read = readKeys(keysWritten(keys))
  if (read.fault === undefined) return activityKeysOf(new MasterKey(read.keys, random), 'activity.keys')
  throw new BusbarError(`activity.keys ${read.fault}`, {
    code: 'ACTIVITY_KEYS_INVALID',
    hint: 'Make keys with: openssl rand -base64 32',
  })
}

/** Keys derived from others, which have other uses as well. */
export function activityKeysOf(masterKey: Pick<MasterKey, 'derive'>, setting: string): ActivityKeys {
  return {
    setting,
    sealing: masterKey.derive('activity'),
    chain: masterKey.derive('activity-chain'),
    address: masterKey.derive('activity-address'),
  }
}

/**
 * What is stored of an address of a user: the same for the same user and address, of no use to whoever has no key.
 * @returns one a key: the first is what to store, any of them is what may have been stored.
 */
export function addressHashes(keys: ActivityKeys, userId: string, address: string): readonly [string, ...string[]] {
  const [first, ...others] = keys.address
  const of = ({ secret }: DerivedKey) =>
    createHmac('sha256', secret).update(`${userId.length}:${userId}${address}`).digest('hex')
  return [of(first), ...others.map(of)]
}

/** The key that a day's chain was made with. */
export interface Signer {
  readonly key: DerivedKey
  /** False when somebody has changed the row of the day. */
  readonly genuine: boolean
}

/** The key of the row's id; or, where somebody has changed that id alone, the one that made it. Null when it is not there. */
export function signerOf(row: DayRow, { chain }: ActivityKeys): Signer | null {
  const named = chain.find(({ id }) => id === row.key_id)
  if (named !== undefined && isGenuine(named.secret, row)) return { key: named, genuine: true }
  const key = chain.find(({ id, secret }) => isGenuine(secret, { ...row, key_id: id })) ?? named
  return key === undefined ? null : { key, genuine: false }
}

/** As `signerOf`, for who cannot go on without. @throws BusbarError ACTIVITY_KEY_MISSING */
export function requireSigner(row: DayRow, keys: ActivityKeys): Signer {
  const signer = signerOf(row, keys)
  if (signer === null) throw keyMissing(row.key_id, keys, `the chain of ${row.day}`)
  return signer
}

/** @throws BusbarError ACTIVITY_KEY_MISSING */
export function sealingKey(id: string, keys: ActivityKeys, eventId: string): DerivedKey {
  const key = keys.sealing.find((each) => each.id === id)
  if (key === undefined) throw keyMissing(id, keys, `what is sealed of the entry ${eventId}`)
  return key
}

/** Retryable: what needs it waits until somebody has put it back. */
function keyMissing(id: string, { setting }: ActivityKeys, what: string): BusbarError {
  return new BusbarError(`the key ${id}, which ${what} was made with, is not in ${setting}`, {
    code: 'ACTIVITY_KEY_MISSING',
    retryable: true,
    hint: `Put the key that was used before back into ${setting}, behind the one for what is new.`,
  })
}
