/** Where the authority of a site is kept: its certificate and key, every certificate it issued, and what was revoked. */

import { X509Certificate } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Validity, validityOf } from '../../shared/certificates.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { type CertificateName, nameAmong, uriOf } from './certificate-name.ts'
import { isMissing, readIfThere } from './watched-file.ts'

export interface AuthorityFiles {
  readonly certificate: string
  readonly key: string
  /** One PEM file for each certificate, named by its number, so that two commands at once lose none. */
  readonly issuedDir: string
  readonly revoked: string
  readonly serverCertificate: string
  readonly serverKey: string
}

export function authorityFiles(dir: string): AuthorityFiles {
  return {
    certificate: join(dir, 'ca.pem'),
    key: join(dir, 'ca.key'),
    issuedDir: join(dir, 'issued'),
    revoked: join(dir, 'revoked.json'),
    serverCertificate: join(dir, 'server.pem'),
    serverKey: join(dir, 'server.key'),
  }
}

/** A certificate that the authority made for a client. */
export interface IssuedCertificate extends Validity {
  /** Upper-case hexadecimal. */
  readonly number: string
  readonly name: CertificateName
}

/** @throws BusbarError AUTHORITY_UNREADABLE */
export function readAuthorityCertificate(dir: string): string | null {
  return reading(dir, () => readIfThere(authorityFiles(dir).certificate))
}

/**
 * All that was issued, oldest first.
 * @throws BusbarError AUTHORITY_UNREADABLE
 */
export function listIssued(dir: string): IssuedCertificate[] {
  return reading(dir, () => {
    const { issuedDir } = authorityFiles(dir)
    const issued = namesIn(issuedDir).flatMap((file) => {
      const certificate = new X509Certificate(readIfThere(join(issuedDir, file)) ?? '')
      const name = nameAmong(certificate.subjectAltName)
      if (name === null || name === 'ambiguous') return []
      return [{ number: certificate.serialNumber.toUpperCase(), name, ...validityOf(certificate) }]
    })
    return issued.sort((a, b) => a.notBeforeMs - b.notBeforeMs || (uriOf(a.name) < uriOf(b.name) ? -1 : 1))
  })
}

export function authorityUnreadable(dir: string, cause: unknown): BusbarError {
  return new BusbarError(`cannot read the authority of the site in ${dir}: ${messageOf(cause)}`, {
    code: 'AUTHORITY_UNREADABLE',
    hint: 'Run the command as the user that runs busbar-edge, or restore the directory from a backup.',
    cause,
  })
}

function reading<T>(dir: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw authorityUnreadable(dir, error)
  }
}

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir).filter((name) => name.endsWith('.pem'))
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}
