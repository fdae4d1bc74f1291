/** Whom a certificate is for, as its subject alternative name says it. Pure. */

import { SERIAL_NUMBER_PATTERN } from '../../shared/mqtt-topics.ts'

export type CertificateName =
  | { readonly role: 'device'; readonly siteId: number; readonly serialNumber: string }
  | { readonly role: 'observer' | 'operator'; readonly username: string }

/** Names of people and tools: 1 to 128 letters, digits, `.`, `_`, `:`, `@` or `-`. */
export const USERNAME_PATTERN = /^[A-Za-z0-9._:@-]{1,128}$/

const URI_PATTERN =
  /^urn:busbar:(?:device:([1-9][0-9]{0,8}):([A-Za-z0-9._:-]+)|(observer|operator):([A-Za-z0-9._:@-]+))$/

/** `urn:busbar:device:1:INV-001`, `urn:busbar:observer:scada`. */
export function uriOf(name: CertificateName): string {
  return name.role === 'device'
    ? `urn:busbar:device:${name.siteId}:${name.serialNumber}`
    : `urn:busbar:${name.role}:${name.username}`
}

/** The name in a URI; null when it is none of ours, to the letter. */
export function nameOfUri(uri: string): CertificateName | null {
  const match = URI_PATTERN.exec(uri)
  if (match === null) return null
  const [, site, serialNumber, role, username] = match
  if (serialNumber !== undefined) {
    return SERIAL_NUMBER_PATTERN.test(serialNumber) ? { role: 'device', siteId: Number(site), serialNumber } : null
  }
  if (username === undefined || !USERNAME_PATTERN.test(username)) return null
  return { role: role as 'observer' | 'operator', username }
}

/** A device by its serial number, everyone else by the username. */
export function readableName(name: CertificateName): string {
  return name.role === 'device' ? name.serialNumber : name.username
}

/**
 * The one name of ours among the subject alternative names of a certificate, as node:crypto writes them; null when there is
 * none, 'ambiguous' when there are several.
 */
export function nameAmong(subjectAltName: string | undefined): CertificateName | null | 'ambiguous' {
  const uris = (subjectAltName ?? '').split(', ').filter((each) => /^URI:"?urn:busbar:/i.test(each))
  if (uris.length === 0) return null
  if (uris.length > 1) return 'ambiguous'
  return nameOfUri((uris[0] as string).slice('URI:'.length)) ?? 'ambiguous'
}
