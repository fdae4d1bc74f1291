/** Certificates made in this process, with whatever dates and names a test wants. */

import { webcrypto } from 'node:crypto'
import { DAY_MS } from '../../shared/durations.ts'
import { loadX509 } from '../../shared/x509.ts'

const KEYS = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'

export interface Dates {
  readonly notBeforeMs: number
  readonly notAfterMs: number
}

/** PEM. */
export interface MadePair {
  readonly cert: string
  readonly key: string
}

export interface MadeAuthority {
  /** PEM. */
  readonly ca: string
  /** As an enrolment token carries it. */
  readonly fingerprint: string
  /** Of a server; valid for these names and addresses. */
  server(names: readonly string[], dates?: Dates): Promise<MadePair>
  /** Of a gateway, with a key of its own. */
  gateway(id: string, dates?: Dates): Promise<MadePair>
  /** What the cloud answers to a request, PEM or DER. */
  sign(request: string | Uint8Array, gatewayId: string, dates?: Dates): Promise<string>
}

/** From an hour ago until in ninety days. */
export function usualDates(nowMs = Date.now()): Dates {
  return { notBeforeMs: nowMs - DAY_MS / 24, notAfterMs: nowMs + 90 * DAY_MS }
}

export async function makeAuthority(name = 'test authority'): Promise<MadeAuthority> {
  const x509 = await loadX509()
  const keys = await newKeys()
  const nowMs = Date.now()
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    notBefore: new Date(nowMs - 4_000 * DAY_MS),
    notAfter: new Date(nowMs + 4_000 * DAY_MS),
    keys,
    signingAlgorithm: KEYS,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
    ],
  })
  let serial = 0x1000
  const issue = async (
    subject: string,
    publicKey: webcrypto.CryptoKey,
    names: readonly { type: 'dns' | 'ip' | 'url'; value: string }[],
    usage: string,
    dates: Dates,
  ): Promise<string> => {
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: (++serial).toString(16),
      subject: `CN=${subject}`,
      issuer: ca.subject,
      notBefore: new Date(dates.notBeforeMs),
      notAfter: new Date(dates.notAfterMs),
      publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: KEYS,
      extensions: [
        new x509.SubjectAlternativeNameExtension([...names]),
        new x509.ExtendedKeyUsageExtension([usage]),
        new x509.BasicConstraintsExtension(false),
      ],
    })
    return `${certificate.toString('pem')}\n`
  }
  const gatewayNames = (id: string) => [{ type: 'url' as const, value: `urn:busbar:gateway:${id}` }]
  return {
    ca: `${ca.toString('pem')}\n`,
    fingerprint: Buffer.from(await ca.getThumbprint('SHA-256')).toString('base64url'),
    async server(names, dates = usualDates()) {
      const own = await newKeys()
      const alternatives = names.map((value) => ({
        type: isAddress(value) ? ('ip' as const) : ('dns' as const),
        value,
      }))
      const subject = names[0] ?? 'nobody'
      return {
        cert: await issue(subject, own.publicKey, alternatives, SERVER_AUTH, dates),
        key: await pkcs8(own.privateKey),
      }
    },
    async gateway(id, dates = usualDates()) {
      const own = await newKeys()
      return {
        cert: await issue(id, own.publicKey, gatewayNames(id), CLIENT_AUTH, dates),
        key: await pkcs8(own.privateKey),
      }
    },
    async sign(request, gatewayId, dates = usualDates()) {
      const csr = new x509.Pkcs10CertificateRequest(typeof request === 'string' ? request : Buffer.from(request))
      if (!(await csr.verify())) throw new Error('the request is not signed by its key')
      const publicKey = await csr.publicKey.export(KEYS, ['verify'])
      return issue(gatewayId, publicKey, gatewayNames(gatewayId), CLIENT_AUTH, dates)
    },
  }
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(KEYS, true, ['sign', 'verify']) as Promise<webcrypto.CryptoKeyPair>
}

async function pkcs8(key: webcrypto.CryptoKey): Promise<string> {
  const text = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key)).toString('base64')
  return `-----BEGIN PRIVATE KEY-----\n${(text.match(/.{1,64}/g) ?? []).join('\n')}\n-----END PRIVATE KEY-----\n`
}

function isAddress(name: string): boolean {
  return /^[0-9.]+$|:/.test(name)
}
