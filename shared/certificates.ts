/** X.509 certificates as Node reads them. */

import { X509Certificate } from 'node:crypto'

/** From when to when, Unix milliseconds; certificates know whole seconds only. */
export interface Validity {
  readonly notBeforeMs: number
  readonly notAfterMs: number
}

/** The certificates of a PEM text, in their order; none when it has none. @throws when one cannot be read. */
export function certificatesIn(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []
  return blocks.map((block) => new X509Certificate(block))
}

export function validityOf({ validFrom, validTo }: X509Certificate): Validity {
  return { notBeforeMs: Date.parse(validFrom), notAfterMs: Date.parse(validTo) }
}

/** True when `issuer` signed it. */
export function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  try {
    return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
  } catch {
    return false
  }
}
