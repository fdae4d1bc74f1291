/** Requests for certificates (PKCS #10): what of them counts is the public key, and that whoever asks has its private half. */

import { loadX509 } from '../../shared/x509.ts'
import { EC_P256, sha256Hex } from './certificate.ts'
import { requestRefused } from './errors.ts'

/** Of a request in DER; one for a P-256 key has about 300. */
export const REQUEST_BYTES_MAX = 4 * 1024

export interface CheckedRequest {
  readonly publicKey: CryptoKey
  /** SHA-256 of the public key, lower-case hexadecimal. */
  readonly keyHash: string
  readonly der: Uint8Array
}

/**
 * Only P-256 keys, which is what busbar-edge makes: one kind of key is one thing less to get wrong. The names and extensions
 * that are asked for are ignored.
 * @throws IdentityError CERTIFICATE_REQUEST_REFUSED
 */
export async function checkRequest(der: Uint8Array): Promise<CheckedRequest> {
  if (der.length === 0) throw requestRefused('there is none')
  if (der.length > REQUEST_BYTES_MAX) throw requestRefused(`it has more than ${REQUEST_BYTES_MAX} bytes`)
  const x509 = await loadX509()
  const request = readable(() => new x509.Pkcs10CertificateRequest(new Uint8Array(der)))
  const { name, namedCurve } = readable(() => request.publicKey.algorithm as { name: string; namedCurve?: string })
  if (name !== EC_P256.name || namedCurve !== EC_P256.namedCurve) throw requestRefused('its key is not EC P-256')
  const isProven = await request.verify().catch(() => false)
  if (!isProven) throw requestRefused('its signature is not by its own key')
  const publicKey = await request.publicKey.export(EC_P256, ['verify'])
  return { publicKey, keyHash: sha256Hex(new Uint8Array(request.publicKey.rawData)), der }
}

/** Whatever the library makes of what is none. */
function readable<T>(read: () => T): T {
  try {
    return read()
  } catch {
    throw requestRefused('it cannot be read')
  }
}

/** The DER of a request in PEM. @throws IdentityError CERTIFICATE_REQUEST_REFUSED */
export function requestOfPem(pem: string): Uint8Array {
  const match =
    /^\s*-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END (?:NEW )?CERTIFICATE REQUEST-----\s*$/.exec(
      pem,
    )
  if (match === null) throw requestRefused('it is not one in PEM')
  return new Uint8Array(Buffer.from(match[1] as string, 'base64'))
}
