/** `busbar-edge ca`: the certificate authority of the site, by which devices and tools are known without a password. */

import { existsSync, readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { deviceTopic } from '../../shared/mqtt-topics.ts'
import type { Random } from '../../shared/random.ts'
import { writeWhole } from '../../shared/whole-file.ts'
import { authorityFiles, listIssued } from '../authority/authority-files.ts'
import { type CertificateName, nameOfUri, readableName, uriOf } from '../authority/certificate-name.ts'
import { listRevoked, revokeByName, revokeByNumber } from '../authority/revocations.ts'
import { issueServerCertificate } from '../authority/server-certificate.ts'
import { initAuthority, SiteAuthority } from '../authority/site-authority.ts'
import { type CredentialRole, listCredentials } from '../broker/credentials.ts'
import { dataPaths, type EdgeConfig } from '../config.ts'

interface Tools {
  readonly clock: Clock
  readonly random: Random
}

export interface IssueOptions {
  readonly site?: number
  readonly serial?: string
  readonly role: CredentialRole
  readonly username?: string
  readonly csr?: string
  readonly out: string
  readonly days: number
}

export async function initCommand(
  config: EdgeConfig,
  { days }: { readonly days: number },
  terminal: Terminal,
  tools: Tools,
): Promise<number> {
  const dir = dataPaths(config).authorityDir
  const { id } = config.gateway
  await initAuthority(dir, { gatewayId: id === 'unnamed' ? hostname() : id, days }, tools)
  const { certificate, key } = authorityFiles(dir)
  terminal.out(`${certificate}\n`)
  terminal.err(`keep a copy of ${key} where nobody else comes: who has it can be every device of this site\n`)
  terminal.err('next: set mqtt.tls.enabled to true, and `busbar-edge ca issue --site 1 --serial INV-001`\n')
  return EXIT_OK
}

/** Writes certificate, key and the authority's certificate, and says where they go. */
export async function issueCommand(
  config: EdgeConfig,
  options: IssueOptions,
  terminal: Terminal,
  tools: Tools,
): Promise<number> {
  const name = nameFrom(options)
  const authority = new SiteAuthority(dataPaths(config).authorityDir, tools)
  const request = options.csr === undefined ? null : readRequest(options.csr)
  const base = join(resolve(options.out), readableName(name))
  const [certFile, keyFile, caFile] = [`${base}.pem`, `${base}.key`, join(resolve(options.out), 'ca.pem')]
  for (const file of request === null ? [certFile, keyFile] : [certFile]) refuseExisting(file)
  // That of this authority may lie there from the last time; another one's is not ours to replace.
  if (existsSync(caFile) && readFileSync(caFile, 'utf8') !== authority.certificate) refuseExisting(caFile)
  const issued = await authority.issueClient(name, options.days, request)
  if (issued.key !== null) writeOut(keyFile, issued.key)
  writeOut(certFile, issued.certificate)
  writeOut(caFile, authority.certificate)

  terminal.out(`${[certFile, ...(issued.key === null ? [] : [keyFile]), caFile].join('\n')}\n`)
  const until = new Date(issued.notAfterMs).toISOString().slice(0, 10)
  terminal.err(`${uriOf(name)}, valid until ${until}. Copy these files to where it connects from`)
  terminal.err(issued.key === null ? '.\n' : '; the key is nowhere else.\n')
  terminal.err(`try it:\n  ${tryLine(config, name, { certFile, keyFile, caFile, ownKey: issued.key === null })}\n`)
  return EXIT_OK
}

/** Makes the broker's certificate anew; a running broker shows it within a second or two. */
export async function serverCommand(
  config: EdgeConfig,
  { name, days }: { readonly name: readonly string[]; readonly days: number },
  terminal: Terminal,
  tools: Tools,
): Promise<number> {
  const bad = name.find((each) => !/^[A-Za-z0-9.:*-]{1,253}$/.test(each))
  if (bad !== undefined) throw usage(`${bad} is neither a host name nor an address`, 'server')
  const dir = dataPaths(config).authorityDir
  const { names, notAfterMs } = await issueServerCertificate(dir, { names: name, days }, tools)
  terminal.out(`${authorityFiles(dir).serverCertificate}\n`)
  const until = new Date(notAfterMs).toISOString().slice(0, 10)
  terminal.err(`for ${[...names.dns, ...names.ip].join(', ')}; valid until ${until}, renewed by the running broker\n`)
  return EXIT_OK
}

export function listCommand(
  config: EdgeConfig,
  { json }: { readonly json: boolean },
  terminal: Terminal,
  { clock }: Tools,
): number {
  const dir = dataPaths(config).authorityDir
  const revoked = new Map(listRevoked(dir).map((each) => [each.number, each.revokedAt]))
  const now = clock.wallMs()
  const certificates = listIssued(dir).map(({ number, name, notBeforeMs, notAfterMs }) => ({
    name: readableName(name),
    uri: uriOf(name),
    notBefore: new Date(notBeforeMs).toISOString(),
    notAfter: new Date(notAfterMs).toISOString(),
    state: revoked.has(number) ? 'revoked' : now >= notAfterMs ? 'expired' : 'good',
    number,
  }))
  if (json) {
    terminal.out(`${JSON.stringify(certificates, null, 2)}\n`)
    return EXIT_OK
  }
  writeTable(
    terminal,
    ['FOR', 'VALID UNTIL', 'STATE', 'NUMBER'],
    certificates.map(({ uri, notAfter, state, number }) => [uri, notAfter.slice(0, 10), state, number]),
  )
  return EXIT_OK
}

export function revokeCommand(
  config: EdgeConfig,
  whose: string | undefined,
  { number }: { readonly number?: string },
  terminal: Terminal,
  { clock }: Tools,
): number {
  if ((whose === undefined) === (number === undefined)) throw usage('name whose, or give --number', 'revoke')
  const { authorityDir: dir, credentialsFile } = dataPaths(config)
  const revoked = number === undefined ? revokeByName(dir, whose ?? '', clock) : revokeByNumber(dir, number, clock)
  for (const each of revoked) terminal.out(`${each.number}\t${each.uri ?? '-'}\n`)
  if (revoked.length === 0) terminal.err('nothing to do: it was revoked before\n')
  else terminal.err('revoked; a connection that is open is cut within a second or two\n')
  // Whoever is sent away is usually meant to be gone, not to come back by password.
  for (const login of listCredentials(credentialsFile).filter((each) => isWhose(each, revoked, whose))) {
    terminal.err(
      `${login.username} can still log in by password; \`busbar-edge device remove ${login.username}\` ends that\n`,
    )
  }
  return EXIT_OK
}

function isWhose(
  login: { readonly username: string; readonly siteId?: number; readonly serialNumber?: string },
  revoked: readonly { readonly uri: string | null }[],
  whose: string | undefined,
): boolean {
  if (login.username === whose) return true
  return revoked.some(({ uri }) => {
    const name = uri === null ? null : nameOfUri(uri)
    return name?.role === 'device' && name.siteId === login.siteId && name.serialNumber === login.serialNumber
  })
}

function nameFrom({ role, site, serial, username }: IssueOptions): CertificateName {
  if (role !== 'device') {
    if (username === undefined) throw usage(`an ${role} needs --username`, 'issue')
    return checked({ role, username })
  }
  if (site === undefined || serial === undefined) throw usage('a device needs --site and --serial', 'issue')
  return checked({ role, siteId: site, serialNumber: serial })
}

function checked(name: CertificateName): CertificateName {
  if (nameOfUri(uriOf(name)) !== null) return name
  throw usage(`${readableName(name)} cannot be a name: letters, digits and . _ : - only`, 'issue')
}

function readRequest(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new BusbarError(`cannot read ${file}: ${messageOf(cause)}`, {
      code: 'REQUEST_INVALID',
      hint: 'Give the file that `openssl req -new` wrote.',
      cause,
    })
  }
}

function refuseExisting(file: string): void {
  if (!existsSync(file)) return
  throw new BusbarError(`${file} exists already`, {
    code: 'FILE_EXISTS',
    hint: 'Move it away, or write elsewhere with --out.',
  })
}

function writeOut(file: string, text: string): void {
  try {
    writeWhole(file, text)
  } catch (cause) {
    throw new BusbarError(`cannot write ${file}: ${messageOf(cause)}`, {
      code: 'FILE_NOT_WRITTEN',
      hint: 'Name a directory that this user may write in with --out.',
      cause,
    })
  }
}

function tryLine(
  config: EdgeConfig,
  name: CertificateName,
  files: { readonly certFile: string; readonly keyFile: string; readonly caFile: string; readonly ownKey: boolean },
): string {
  const key = files.ownKey ? 'DEVICE.key' : files.keyFile
  const where = `-h ${hostname()} -p ${config.mqtt.tls.port} --cafile ${files.caFile} --cert ${files.certFile} --key ${key}`
  return name.role === 'device'
    ? `mosquitto_pub ${where} -q 1 -t ${deviceTopic(name.siteId, name.serialNumber, 'telemetry')} -m '{"powerKw": 45.2}'`
    : `mosquitto_sub ${where} -v -t 'sites/+/devices/+/#'`
}

function usage(message: string, command: string): BusbarError {
  return new BusbarError(message, { code: 'USAGE', hint: `\`busbar-edge ca ${command} --help\` shows how.` })
}
