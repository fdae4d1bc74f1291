/** Certificates for a test: made by openssl, as an operator would, or in memory, where they may be as wrong as one likes. */

import { execFileSync } from 'node:child_process'
import { createPrivateKey, generateKeyPairSync, sign, X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EC_P256, makeAuthority, signGateway } from '../../cloud/authority/certificate.ts'
import type { Validity } from '../../shared/certificates.ts'
import { systemRandom } from '../../shared/random.ts'
import { loadX509 } from '../../shared/x509.ts'

export interface Authority {
  /** PEM. */
  readonly ca: string
  /** A certificate for a name. @param names that it carries as a server's. Default: localhost and 127.0.0.1. */
  issue(commonName: string, names?: string): { readonly cert: string; readonly key: string }
}

export function newAuthority(dir: string, name = 'test-ca'): Authority {
  const file = (suffix: string): string => join(dir, `${name}-${suffix}`)
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  openssl([
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    file('ca.key'),
    '-out',
    file('ca.pem'),
    '-days',
    '2',
    '-subj',
    `/CN=${name}`,
  ])
  let issued = 0
  return {
    ca: readFileSync(file('ca.pem'), 'utf8'),
    issue(commonName, names = 'DNS:localhost,IP:127.0.0.1') {
      const base = file(`leaf-${++issued}`)
      openssl(['req', ...newKey, '-keyout', `${base}.key`, '-out', `${base}.csr`, '-subj', `/CN=${commonName}`])
      writeFileSync(`${base}.ext`, `subjectAltName=${names}\n`)
      const signing = [
        '-CA',
        file('ca.pem'),
        '-CAkey',
        file('ca.key'),
        '-CAcreateserial',
        '-days',
        '1',
        '-extfile',
        `${base}.ext`,
      ]
      openssl(['x509', '-req', '-in', `${base}.csr`, '-out', `${base}.pem`, ...signing])
      return {
        cert: readFileSync(`${base}.pem`, 'utf8'),
        key: readFileSync(`${base}.key`, 'utf8'),
      }
    },
  }
}

function openssl(args: readonly string[]): void {
  execFileSync('openssl', [...args], { stdio: 'pipe' })
}

/** A certificate and its key, PEM. */
export interface KeyPair {
  readonly cert: string
  readonly key: string
}

/** An authority in memory, whose certificates may say anything. */
export interface MadeAuthority {
  readonly certificatePem: string
  readonly keyPem: string
  /** As the authority of the cloud signs for a gateway. */
  gateway(gatewayId: string, dates?: Partial<Validity>): Promise<KeyPair>
}

const HOUR_MS = 3_600_000
const YEAR_MS = 365 * 24 * HOUR_MS

/** Another one of the same name is made of `nameLike`, an authority that it pretends to be. */
export async function madeAuthority(nameLike?: MadeAuthority): Promise<MadeAuthority> {
  const nowMs = Date.now()
  const made = await makeAuthority({ notBeforeMs: nowMs - YEAR_MS, notAfterMs: nowMs + YEAR_MS }, systemRandom)
  // What is signed says who signed it; here it says the name of the other one.
  const shown = new X509Certificate(nameLike?.certificatePem ?? made.certificatePem)
  const der = createPrivateKey(made.keyPem).export({ type: 'pkcs8', format: 'der' })
  const signing = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('pkcs8', new Uint8Array(der), signing, false, ['sign'])
  return {
    ...made,
    async gateway(gatewayId, dates = {}) {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))
      const imported = await crypto.subtle.importKey('spki', spki, EC_P256, true, ['verify'])
      const life = { notBeforeMs: nowMs - HOUR_MS, notAfterMs: nowMs + HOUR_MS, ...dates }
      const signer = { certificate: shown, key, signing }
      const cert = await signGateway(signer, { gatewayId, publicKey: imported }, life, systemRandom)
      return { cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }
    },
  }
}

/** A new P-256 key with the request for a certificate that it signs. */
export async function newRequest(commonName = 'whoever'): Promise<{
  readonly key: string
  readonly csrPem: string
  readonly csrDer: Uint8Array
}> {
  const { Pkcs10CertificateRequestGenerator } = await loadX509()
  const signingAlgorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const keys = await crypto.subtle.generateKey(signingAlgorithm, true, ['sign', 'verify'])
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [commonName] }],
    keys,
    signingAlgorithm,
  })
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey))
  const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  return {
    key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    csrPem: `${request.toString('pem')}\n`,
    csrDer: new Uint8Array(request.rawData),
  }
}

/** What whoever has the old key signs to get a new certificate. */
export function signedProof(key: string, challenge: string, csrDer: Uint8Array): string {
  const signed = Buffer.concat([Buffer.from(`busbar-renewal\n${challenge}\n`), csrDer])
  return sign('sha256', signed, { key, dsaEncoding: 'der' }).toString('base64')
}
