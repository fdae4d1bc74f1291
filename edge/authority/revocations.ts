/**
 * Certificates that count no more, in one file: a JSON list of their numbers. The running broker reads it again within a
 * second of a change.
 */

import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { writeWhole } from '../../shared/whole-file.ts'
import { authorityFiles, listIssued } from './authority-files.ts'
import { readableName, uriOf } from './certificate-name.ts'
import { readIfThere, WatchedFile } from './watched-file.ts'

export interface RevokedCertificate {
  /** Serial number of the certificate, upper-case hexadecimal. */
  readonly number: string
  /** Whose it was; null for one that another authority issued. */
  readonly uri: string | null
  /** ISO 8601. */
  readonly revokedAt: string
}

/** Follows the file while the broker runs. */
export class Revocations {
  private readonly watched: WatchedFile<ReadonlySet<string>>

  constructor(dir: string, clock: Clock) {
    this.watched = new WatchedFile(authorityFiles(dir).revoked, clock, () => {
      return new Set(listRevoked(dir).map(({ number }) => number))
    })
  }

  /** @throws BusbarError REVOCATIONS_UNREADABLE; what was read before stays in force on the next call. */
  has(number: string): boolean {
    return this.watched.current().has(normalNumber(number))
  }

  /** Grows with each change that was read. */
  get generation(): number {
    return this.watched.generation
  }

  /** Looks at the file now; true when it had changed and was read. */
  reload(): boolean {
    return this.watched.reload()
  }
}

/** @throws BusbarError REVOCATIONS_UNREADABLE */
export function listRevoked(dir: string): RevokedCertificate[] {
  const file = authorityFiles(dir).revoked
  try {
    const text = readIfThere(file)
    if (text === null) return []
    const parsed: unknown = JSON.parse(text)
    if (!Array.isArray(parsed)) throw new Error('it is not a list')
    return parsed.map((each: RevokedCertificate) => {
      if (typeof each?.number !== 'string' || !/^[0-9A-F]+$/.test(each.number)) throw new Error('a number is none')
      return each
    })
  } catch (error) {
    // To go on without it would let back in whoever was sent away.
    throw new BusbarError(`cannot read which certificates are revoked in ${file}: ${messageOf(error)}`, {
      code: 'REVOCATIONS_UNREADABLE',
      hint: 'Restore the file from a backup, or remove it and revoke again what has to be.',
      cause: error,
    })
  }
}

/**
 * Revokes what was issued to a device or user so far: by serial number of the device, username, URI, or number of the
 * certificate. A certificate that is issued to the same name later is good.
 * @returns those that were good until now.
 * @throws BusbarError CERTIFICATE_UNKNOWN, AUTHORITY_UNREADABLE, REVOCATIONS_UNREADABLE, REVOCATIONS_NOT_WRITTEN
 */
export function revokeByName(dir: string, whose: string, clock: Clock): RevokedCertificate[] {
  const wanted = normalNumber(whose)
  const found = listIssued(dir).filter(
    ({ number, name }) => number === wanted || readableName(name) === whose || uriOf(name) === whose,
  )
  if (found.length === 0) {
    throw new BusbarError(`no certificate was issued for ${whose}`, {
      code: 'CERTIFICATE_UNKNOWN',
      hint: '`busbar-edge ca list` shows those there are; one of another authority is revoked with --number.',
    })
  }
  return revoke(
    dir,
    found.map(({ number, name }) => ({ number, uri: uriOf(name) })),
    clock,
  )
}

/** Revokes a certificate by its number, whoever issued it. */
export function revokeByNumber(dir: string, number: string, clock: Clock): RevokedCertificate[] {
  const normal = normalNumber(number)
  if (!/^[0-9A-F]{1,64}$/.test(normal)) {
    throw new BusbarError(`${number} is no number of a certificate`, {
      code: 'USAGE',
      hint: '`openssl x509 -in FILE -noout -serial` prints it.',
    })
  }
  const issued = listIssued(dir).find((each) => each.number === normal)
  return revoke(dir, [{ number: normal, uri: issued === undefined ? null : uriOf(issued.name) }], clock)
}

function revoke(
  dir: string,
  certificates: readonly { readonly number: string; readonly uri: string | null }[],
  clock: Clock,
): RevokedCertificate[] {
  const before = listRevoked(dir)
  const known = new Set(before.map(({ number }) => number))
  const revokedAt = new Date(clock.wallMs()).toISOString()
  const fresh = certificates.filter(({ number }) => !known.has(number)).map((each) => ({ ...each, revokedAt }))
  if (fresh.length === 0) return []
  const { revoked } = authorityFiles(dir)
  try {
    writeWhole(revoked, `${JSON.stringify([...before, ...fresh], null, 2)}\n`)
  } catch (error) {
    throw new BusbarError(`cannot write ${revoked}: ${messageOf(error)}`, {
      code: 'REVOCATIONS_NOT_WRITTEN',
      hint: 'Run the command as the user that runs busbar-edge, and check that the disk is not full.',
      cause: error,
    })
  }
  return fresh
}

/** As node:crypto writes it: upper case, without colons or leading zeros. */
function normalNumber(number: string): string {
  return number
    .toUpperCase()
    .replaceAll(':', '')
    .replace(/^0+(?=.)/, '')
}
