/** `busbar-edge device`: who may log in to the MQTT broker of this gateway. */

import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { Random } from '../../shared/random.ts'
import { type IssuedCertificate, listIssued } from '../authority/authority-files.ts'
import { readableName } from '../authority/certificate-name.ts'
import { listRevoked } from '../authority/revocations.ts'
import {
  addCredential,
  type CredentialRole,
  listCredentials,
  type NewCredential,
  removeCredential,
} from '../broker/credentials.ts'
import { dataPaths, type EdgeConfig } from '../config.ts'

export interface AddOptions {
  readonly site?: number
  readonly serial?: string
  readonly role: CredentialRole
  readonly username?: string
  readonly json: boolean
}

/** Adds a login and prints its password, which is nowhere else. */
export function addDevice(
  config: EdgeConfig,
  options: AddOptions,
  terminal: Terminal,
  tools: { readonly clock: Clock; readonly random: Random },
): number {
  const { credential, secret } = addCredential(dataPaths(config).credentialsFile, newCredential(options), tools)
  const login = { username: credential.username, password: secret }
  if (options.json) {
    terminal.out(`${JSON.stringify(login, null, 2)}\n`)
    return EXIT_OK
  }
  writeTable(terminal, ['USERNAME', 'PASSWORD'], [[login.username, login.password]])
  terminal.err('keep the password: only its hash is stored\n')
  return EXIT_OK
}

export function listDevices(config: EdgeConfig, options: { readonly json: boolean }, terminal: Terminal): number {
  const credentials = listCredentials(dataPaths(config).credentialsFile)
  if (options.json) {
    const shown = credentials.map(({ secretSha256: _, ...rest }) => rest)
    terminal.out(`${JSON.stringify(shown, null, 2)}\n`)
    return EXIT_OK
  }
  const rows = credentials.map(({ username, role, siteId, serialNumber, createdAt }) => [
    username,
    role,
    siteId === undefined ? '-' : String(siteId),
    serialNumber ?? '-',
    createdAt,
  ])
  writeTable(terminal, ['USERNAME', 'ROLE', 'SITE', 'SERIAL NUMBER', 'SINCE'], rows)
  return EXIT_OK
}

export function removeDevice(config: EdgeConfig, username: string, terminal: Terminal): number {
  if (!removeCredential(dataPaths(config).credentialsFile, username)) {
    throw new BusbarError(`there is no login named ${username}`, {
      code: 'CREDENTIAL_UNKNOWN',
      hint: '`busbar-edge device list` shows those there are.',
    })
  }
  terminal.err(`${username} can log in no more; a connection that is open is cut within a second or two\n`)
  const { authorityDir } = dataPaths(config)
  const revoked = new Set(listRevoked(authorityDir).map(({ number }) => number))
  const isLeft = ({ number, name }: IssuedCertificate) => readableName(name) === username && !revoked.has(number)
  if (listIssued(authorityDir).some(isLeft)) {
    terminal.err(`it has a certificate, too; \`busbar-edge ca revoke ${username}\` ends that\n`)
  }
  return EXIT_OK
}

function newCredential({ site, serial, role, username }: AddOptions): NewCredential {
  if (role === 'device') {
    if (site !== undefined && serial !== undefined) {
      return { role, siteId: site, serialNumber: serial, ...(username === undefined ? {} : { username }) }
    }
    throw usage('a device needs --site and --serial')
  }
  if (username === undefined) throw usage(`an ${role} needs --username`)
  return { role, username }
}

function usage(message: string): BusbarError {
  return new BusbarError(message, { code: 'USAGE', hint: '`busbar-edge device add --help` shows how.' })
}
