/** TLS of the listener: its certificate, and what is spoken. */

import { createPrivateKey, X509Certificate } from 'node:crypto'
import { BusbarError, messageOf } from '../../../shared/errors.ts'
import { TLS12_CIPHERS } from '../../../shared/tls.ts'

export interface ApiTls {
  /** Certificate with its chain, PEM. */
  readonly cert: string
  /** Private key of the certificate, PEM. */
  readonly key: string
}

/** TLS 1.2, as OpenSSL numbers it, which is how Bun.serve wants it; 1.3 is spoken with whoever can. */
const TLS_1_2 = 0x0303

/** For Bun.serve. */
export function listenerTls({ cert, key }: ApiTls): object {
  return { cert, key, minVersion: TLS_1_2, ciphers: TLS12_CIPHERS }
}

/**
 * Whether a certificate carries a name, wildcards included.
 * @throws BusbarError API_TLS_INVALID when certificate or key cannot be read, or do not belong together.
 */
export function namesOf({ cert, key }: ApiTls): (name: string) => boolean {
  const certificate = readPair(cert, key)
  // Of what cannot be a name at all, such as none, checkHost throws.
  return (name) => name !== '' && !name.includes('\0') && certificate.checkHost(name) !== undefined
}

function readPair(cert: string, key: string): X509Certificate {
  const refuse = (why: string): BusbarError =>
    new BusbarError(`the certificate and key of api.tls cannot be used: ${why}`, {
      code: 'API_TLS_INVALID',
      hint: 'Set api.tls.certFile to a certificate in PEM, and api.tls.keyFile to its private key without a passphrase.',
    })
  let certificate: X509Certificate
  let fits: boolean
  try {
    certificate = new X509Certificate(cert)
    fits = certificate.checkPrivateKey(createPrivateKey(key))
  } catch (error) {
    throw refuse(messageOf(error))
  }
  if (!fits) throw refuse('the key is not the one of the certificate')
  return certificate
}
