/** A new key, made on this machine and never leaving it, and the request to have it certified. */

import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, webcrypto } from 'node:crypto'
import { loadX509 } from '../../shared/x509.ts'

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/** A private key on P-256, PKCS #8 in PEM. */
export function newPrivateKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

/** PKCS #10 in DER, signed by the key, with the gateway's id as the common name. */
export async function signingRequest(privateKey: string, gatewayId: string): Promise<Buffer> {
  const { Pkcs10CertificateRequestGenerator } = await loadX509()
  const key = createPrivateKey(privateKey)
  const publicKey = createPublicKey(key)
  const { subtle } = webcrypto
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [gatewayId] }],
    keys: {
      privateKey: await subtle.importKey('pkcs8', key.export({ type: 'pkcs8', format: 'der' }), ALGORITHM, false, [
        'sign',
      ]),
      publicKey: await subtle.importKey('spki', publicKey.export({ type: 'spki', format: 'der' }), ALGORITHM, true, [
        'verify',
      ]),
    },
    signingAlgorithm: ALGORITHM,
  })
  return Buffer.from(request.rawData)
}

/** DER as PEM. */
export function requestPem(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines.join('\n')}\n-----END CERTIFICATE REQUEST-----\n`
}

/**
 * Proof that who asks for `request` has the key of the certificate before it: ECDSA with SHA-256 over the challenge and the
 * request, DER in base64.
 */
export function renewalProof(oldPrivateKey: string, challenge: string, request: Uint8Array): string {
  const signed = Buffer.concat([Buffer.from(`busbar-renewal\n${challenge}\n`), request])
  return sign('sha256', signed, { key: oldPrivateKey, dsaEncoding: 'der' }).toString('base64')
}
