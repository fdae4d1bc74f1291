/**
 * The certificate authority of a site: one root, kept on the gateway, that devices and tools on site are known by and that
 * they know the broker by. The cloud has no part in it, so a site without a link can add a meter.
 */

import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { validityOf } from '../../shared/certificates.ts'
import type { Clock } from '../../shared/clock.ts'
import { type CheckedFile, privacyHint, readChecked } from '../../shared/config/private-file.ts'
import { DAY_MS, HOUR_MS } from '../../shared/durations.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Random } from '../../shared/random.ts'
import { writeWhole } from '../../shared/whole-file.ts'
import { loadX509, type X509 } from '../../shared/x509.ts'
import { authorityFiles, authorityUnreadable } from './authority-files.ts'
import { type CertificateName, readableName, uriOf } from './certificate-name.ts'
import { knowsTheTime } from './known-time.ts'
import { readIfThere } from './watched-file.ts'

export interface AuthorityTools {
  readonly clock: Clock
  readonly random: Random
}

/** PEM. */
export interface IssuedPair {
  readonly certificate: string
  /** Null where the holder made its own. */
  readonly key: string | null
  readonly notAfterMs: number
}

/** What goes into a certificate besides its key. */
interface Purpose {
  readonly commonName: string
  readonly usage: 'client' | 'server'
  readonly names: readonly { readonly type: 'url' | 'dns' | 'ip'; readonly value: string }[]
  readonly notBefore: Date
  readonly notAfter: Date
}

export const AUTHORITY_DAYS = 7300
export const CLIENT_DAYS = 825
const CURVE = { name: 'ECDSA', namedCurve: 'P-256' } as const
const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' } as const
const NUMBER_BYTES = 16
/** Certificates are valid from a little before they were made: the clocks of devices differ. */
const BACKDATED_MS = HOUR_MS

/**
 * Makes the authority of a gateway.
 * @throws BusbarError AUTHORITY_EXISTS, CLOCK_NOT_SET, AUTHORITY_NOT_WRITTEN
 */
export async function initAuthority(
  dir: string,
  options: { readonly gatewayId: string; readonly days: number },
  { clock, random }: AuthorityTools,
): Promise<{ readonly certificate: string }> {
  const files = authorityFiles(dir)
  if (readIfThere(files.key) !== null || readIfThere(files.certificate) !== null) throw exists(dir)
  const now = timeOf(clock)
  const x509 = await loadX509()
  const keys = await crypto.subtle.generateKey(CURVE, true, ['sign', 'verify'])
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newNumber(random),
    name: [{ CN: [`Busbar site authority ${options.gatewayId}`] }],
    keys,
    signingAlgorithm: SIGNATURE,
    notBefore: new Date(now - BACKDATED_MS),
    notAfter: new Date(now + options.days * DAY_MS),
    extensions: [
      // It signs certificates of clients and servers, and no further authority.
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  const certificate = pemOf(root)
  // The key first: a certificate without its key would look like an authority that is there.
  write(dir, files.key, await keyPem(x509, keys.privateKey), false)
  write(dir, files.certificate, certificate, false)
  return { certificate }
}

export class SiteAuthority {
  readonly dir: string
  /** PEM. */
  readonly certificate: string
  readonly notBeforeMs: number
  readonly notAfterMs: number
  private readonly key: string
  private readonly tools: AuthorityTools

  /** @throws BusbarError AUTHORITY_MISSING, AUTHORITY_UNREADABLE, AUTHORITY_EXPOSED */
  constructor(dir: string, tools: AuthorityTools) {
    this.dir = dir
    this.tools = tools
    const { certificate, key } = readPair(dir)
    this.certificate = certificate
    this.key = key
    const { notBeforeMs, notAfterMs } = validityOf(new X509Certificate(certificate))
    this.notBeforeMs = notBeforeMs
    this.notAfterMs = notAfterMs
  }

  /**
   * A certificate by which a client of the broker is known; noted, so that it can be revoked by name.
   * @param request PEM of a certificate request; its key is taken and nothing else.
   * @throws BusbarError REQUEST_INVALID, CLOCK_NOT_SET, AUTHORITY_NOT_WRITTEN
   */
  async issueClient(name: CertificateName, days: number, request: string | null): Promise<IssuedPair> {
    const now = timeOf(this.tools.clock)
    const purpose: Purpose = {
      commonName: readableName(name).slice(0, 64),
      usage: 'client',
      names: [{ type: 'url', value: uriOf(name) }],
      notBefore: new Date(now - BACKDATED_MS),
      notAfter: new Date(Math.min(now + days * DAY_MS, this.notAfterMs)),
    }
    const { pair, number } = await this.issue(purpose, request)
    write(this.dir, join(authorityFiles(this.dir).issuedDir, `${number}.pem`), pair.certificate, false)
    return pair
  }

  /** The broker's own. Where the time is not known it lasts as long as the authority does, until it is. */
  async issueServer(names: { readonly dns: readonly string[]; readonly ip: readonly string[] }, days: number) {
    const now = this.tools.clock.wallMs()
    const known = knowsTheTime(now)
    const { pair } = await this.issue(
      {
        commonName: (names.dns[0] ?? names.ip[0] ?? 'busbar-edge').slice(0, 64),
        usage: 'server',
        names: [
          ...names.dns.map((value) => ({ type: 'dns' as const, value })),
          ...names.ip.map((value) => ({ type: 'ip' as const, value })),
        ],
        notBefore: new Date(known ? now - BACKDATED_MS : this.notBeforeMs),
        notAfter: new Date(known ? Math.min(now + days * DAY_MS, this.notAfterMs) : this.notAfterMs),
      },
      null,
    )
    return pair
  }

  private async issue(purpose: Purpose, request: string | null): Promise<{ pair: IssuedPair; number: string }> {
    const x509 = await loadX509()
    const made = request === null ? await crypto.subtle.generateKey(CURVE, true, ['sign', 'verify']) : null
    const publicKey = made?.publicKey ?? (await keyOfRequest(x509, request ?? ''))
    const number = newNumber(this.tools.random)
    const authority = new x509.X509Certificate(this.certificate)
    const [key] = x509.PemConverter.decode(this.key)
    const { commonName, usage, names, notBefore, notAfter } = purpose
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: number,
      subject: [{ CN: [commonName] }],
      issuer: authority.subjectName,
      publicKey,
      signingKey: await crypto.subtle.importKey('pkcs8', key as ArrayBuffer, CURVE, false, ['sign']),
      signingAlgorithm: SIGNATURE,
      notBefore,
      notAfter,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([
          usage === 'client' ? x509.ExtendedKeyUsage.clientAuth : x509.ExtendedKeyUsage.serverAuth,
        ]),
        new x509.SubjectAlternativeNameExtension([...names]),
        await x509.AuthorityKeyIdentifierExtension.create(authority),
        await x509.SubjectKeyIdentifierExtension.create(publicKey),
      ],
    })
    return {
      number: number.toUpperCase(),
      pair: {
        certificate: pemOf(certificate),
        key: made === null ? null : await keyPem(x509, made.privateKey),
        notAfterMs: notAfter.getTime(),
      },
    }
  }
}

function readPair(dir: string): { certificate: string; key: string } {
  const files = authorityFiles(dir)
  let certificate: string | null
  let key: CheckedFile | null
  try {
    certificate = readIfThere(files.certificate)
    key = readIfThere(files.key) === null ? null : readChecked(files.key)
  } catch (error) {
    throw authorityUnreadable(dir, error)
  }
  if (key !== null && key.exposure !== null) {
    throw new BusbarError(`the key of the authority, ${files.key}, is no secret: ${key.exposure}`, {
      code: 'AUTHORITY_EXPOSED',
      hint: `${privacyHint(files.key)}. Where others may have read it, make a new authority and all certificates again.`,
    })
  }
  if (certificate !== null && key !== null) return { certificate, key: key.text }
  throw new BusbarError(`there is no certificate authority in ${dir}`, {
    code: 'AUTHORITY_MISSING',
    hint: 'Make one with `busbar-edge ca init`.',
  })
}

/** The key that asks; that it signed the request shows that who asks has it. */
async function keyOfRequest(x509: X509, pem: string) {
  const refuse = (why: string, cause?: unknown): BusbarError =>
    new BusbarError(`this is no certificate request that can be granted: ${why}`, {
      code: 'REQUEST_INVALID',
      hint: 'Make one with: openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout device.key -subj /CN=device -out device.csr',
      cause,
    })
  try {
    const request = new x509.Pkcs10CertificateRequest(pem)
    if (await request.verify()) return request.publicKey
  } catch (error) {
    throw refuse(messageOf(error), error)
  }
  throw refuse('it is not signed by its own key')
}

/** A positive number of 127 bits, so that its length is always the same. */
function newNumber(random: Random): string {
  const bytes = Buffer.from(random.bytes(NUMBER_BYTES))
  bytes[0] = ((bytes[0] as number) & 0x3f) | 0x40
  return bytes.toString('hex')
}

function timeOf(clock: Clock): number {
  const now = clock.wallMs()
  if (knowsTheTime(now)) return now
  throw new BusbarError(`this machine does not know the time: it says ${new Date(now).toISOString()}`, {
    code: 'CLOCK_NOT_SET',
    hint: 'Set the clock first; a certificate made now would be valid at the wrong time.',
  })
}

function pemOf(certificate: { toString(format: 'pem'): string }): string {
  return `${certificate.toString('pem')}\n`
}

async function keyPem(x509: X509, key: CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`
}

function write(dir: string, file: string, text: string, overwrite: boolean): void {
  try {
    writeWhole(file, text, { overwrite })
  } catch (error) {
    if ((error as { code?: unknown }).code === 'EEXIST') throw exists(dir)
    throw new BusbarError(`cannot write ${file}: ${messageOf(error)}`, {
      code: 'AUTHORITY_NOT_WRITTEN',
      hint: 'Run the command as the user that runs busbar-edge, and check that the disk is not full.',
      cause: error,
    })
  }
}

function exists(dir: string): BusbarError {
  return new BusbarError(`there is a certificate authority in ${dir} already`, {
    code: 'AUTHORITY_EXISTS',
    hint: 'Every certificate it issued would be worth nothing with another one; to start anew, move the directory away first.',
  })
}
