/**
 * The certificate that the broker shows. Either it is in files that someone else renews, or the authority of the site makes
 * it, for the names and addresses of this machine, and makes the next one when two thirds of its time are over.
 */

import { createPrivateKey, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { hostname, networkInterfaces } from 'node:os'
import { validityOf } from '../../shared/certificates.ts'
import { readPem } from '../../shared/config/pem.ts'
import { readPrivate } from '../../shared/config/private-file.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { writeWhole } from '../../shared/whole-file.ts'
import { authorityFiles, authorityUnreadable, readAuthorityCertificate } from './authority-files.ts'
import { knowsTheTime } from './known-time.ts'
import { type AuthorityTools, SiteAuthority } from './site-authority.ts'
import { readIfThere, WatchedFile } from './watched-file.ts'

/** PEM. */
export interface ServerCertificate {
  readonly cert: string
  readonly key: string
}

export interface ServerCertificateSource {
  /** @throws BusbarError AUTHORITY_MISSING and others, when there can be none. */
  load(): Promise<ServerCertificate>
  /** Another one than the last that was given; null while that is the one to show. Asked once in a while. */
  changed(): Promise<ServerCertificate | null>
}

export interface ServerNames {
  readonly dns: readonly string[]
  readonly ip: readonly string[]
}

export const SERVER_DAYS = 397
/** Of its lifetime, after which the next one is made. */
const RENEW_AT = 2 / 3

/** What this machine is called and reached by; addresses that mean something on one link only are left out. */
export function namesOfMachine(): ServerNames {
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? [])
  const ip = addresses.map(({ address }) => address).filter((address) => !/^fe80:|%/i.test(address))
  return merged({ dns: ['localhost', hostname()], ip: ['127.0.0.1', '::1', ...ip] }, { dns: [], ip: [] })
}

/** Makes the broker's certificate anew, for the machine and what else it was for. */
export async function issueServerCertificate(
  dir: string,
  options: { readonly names: readonly string[]; readonly days: number },
  tools: AuthorityTools,
): Promise<{ readonly certificate: ServerCertificate; readonly names: ServerNames; readonly notAfterMs: number }> {
  const authority = new SiteAuthority(dir, tools)
  const files = authorityFiles(dir)
  const before = namesOf(readOne(files.serverCertificate))
  const given = {
    dns: options.names.filter((name) => isIP(name) === 0),
    ip: options.names.filter((name) => isIP(name) > 0),
  }
  const names = merged(merged(namesOfMachine(), given), before)
  const { certificate, key, notAfterMs } = await authority.issueServer(names, options.days)
  const pair = { cert: certificate, key: key ?? '' }
  try {
    writeWhole(files.serverKey, pair.key)
    // The certificate last: whoever watches it finds its key beside it.
    writeWhole(files.serverCertificate, pair.cert)
  } catch (error) {
    throw new BusbarError(`cannot write the broker's certificate: ${messageOf(error)}`, {
      code: 'AUTHORITY_NOT_WRITTEN',
      hint: 'Run the command as the user that runs busbar-edge, and check that the disk is not full.',
      cause: error,
    })
  }
  return { certificate: pair, names, notAfterMs }
}

/** The one that the authority of the site makes. */
export function siteServerCertificate(dir: string, tools: AuthorityTools): ServerCertificateSource {
  const files = authorityFiles(dir)
  const watched = new WatchedFile(files.serverCertificate, tools.clock, () => readOwn(dir))
  const fresh = async (): Promise<ServerCertificate> => {
    const { certificate } = await issueServerCertificate(dir, { names: [], days: SERVER_DAYS }, tools)
    watched.reload()
    return certificate
  }
  return {
    async load() {
      if (readAuthorityCertificate(dir) === null) throw noAuthority(dir)
      const own = watched.current()
      return own === null || isDue(own, tools.clock.wallMs()) || lacksName(own) || !isFrom(dir, own) ? fresh() : own
    },
    async changed() {
      const isNew = watched.reload()
      const own = watched.current()
      if (own === null || isDue(own, tools.clock.wallMs())) return fresh()
      return isNew ? own : null
    },
  }
}

/** The one in `certFile` and `keyFile`, read again when it was renewed. */
export function fileServerCertificate(
  section: string,
  files: { readonly certFile: string; readonly keyFile: string },
  { clock }: AuthorityTools,
): ServerCertificateSource {
  const cert = new WatchedFile(files.certFile, clock, (file) => readPem(`${section}.certFile`, file))
  const key = new WatchedFile(files.keyFile, clock, (file) => readPrivate(`${section}.keyFile`, file))
  const load = async () => ({ cert: cert.current(), key: key.current() })
  return {
    load,
    async changed() {
      const [newCert, newKey] = [cert.reload(), key.reload()]
      return newCert || newKey ? load() : null
    },
  }
}

function readOwn(dir: string): ServerCertificate | null {
  const files = authorityFiles(dir)
  const [cert, key] = [readOne(files.serverCertificate), readOne(files.serverKey)]
  if (cert === null || key === null) return null
  // One was written and the other not: it ended in between.
  return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)) ? { cert, key } : null
}

function readOne(file: string): string | null {
  try {
    return readIfThere(file)
  } catch (error) {
    throw authorityUnreadable(file, error)
  }
}

/** True when it is time for the next one; one that lasts as long as its authority was made without knowing the time. */
function isDue({ cert }: ServerCertificate, wallMs: number): boolean {
  if (!knowsTheTime(wallMs)) return false
  const { notBeforeMs, notAfterMs } = validityOf(new X509Certificate(cert))
  const lifetimeMs = notAfterMs - notBeforeMs
  return wallMs < notBeforeMs || wallMs >= notBeforeMs + lifetimeMs * RENEW_AT
}

/** True when the machine has got a name or an address that the certificate does not have. */
function lacksName({ cert }: ServerCertificate): boolean {
  const has = namesOf(cert)
  const is = namesOfMachine()
  return is.dns.some((name) => !has.dns.includes(name)) || is.ip.some((name) => !has.ip.includes(name))
}

function isFrom(dir: string, { cert }: ServerCertificate): boolean {
  const authority = readAuthorityCertificate(dir)
  return authority !== null && new X509Certificate(cert).verify(new X509Certificate(authority).publicKey)
}

function namesOf(certificate: string | null): ServerNames {
  if (certificate === null) return { dns: [], ip: [] }
  const names = (new X509Certificate(certificate).subjectAltName ?? '').split(', ')
  const of = (prefix: string) =>
    names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length))
  return { dns: of('DNS:'), ip: of('IP Address:').map(shortAddress) }
}

function merged(one: ServerNames, other: ServerNames): ServerNames {
  return {
    dns: [...new Set([...one.dns, ...other.dns])],
    ip: [...new Set([...one.ip, ...other.ip].map(shortAddress))],
  }
}

/** One spelling of an IPv6 address: certificates are read back with all of its zeros. */
function shortAddress(address: string): string {
  return isIP(address) === 6 ? new URL(`http://[${address}]/`).hostname.slice(1, -1) : address
}

function noAuthority(dir: string): BusbarError {
  return new BusbarError(`mqtt.tls has no certificate: no certFile, and no certificate authority in ${dir}`, {
    code: 'CONFIG_NO_CERTIFICATE',
    hint: 'Make the authority of this site with `busbar-edge ca init`, or set mqtt.tls.certFile and mqtt.tls.keyFile.',
  })
}
