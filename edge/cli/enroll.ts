/** `busbar-edge enroll`: exchanges a token for the certificate by which the cloud knows this gateway. */

import { existsSync, readFileSync } from 'node:fs'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import { readPem } from '../../shared/config/pem.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { dataPaths, type EdgeConfig, ENROLMENT_TOKEN_VARIABLE } from '../config.ts'
import { enrollGateway } from '../identity/enroll.ts'
import { IdentityFile } from '../identity/identity-file.ts'
import { datesInWords } from '../identity/validity.ts'

export interface EnrollOptions {
  readonly url: string
  readonly token?: string
  readonly tokenFile?: string
  readonly caFile?: string
  readonly replace: boolean
  readonly json: boolean
}

/** @param environmentToken of the variable for it, if it is set. */
export async function enrollCommand(
  config: EdgeConfig,
  options: EnrollOptions,
  environmentToken: string | undefined,
  terminal: Terminal,
  clock: Clock,
): Promise<number> {
  const { gateway, uplink } = config
  const isNewPlace = !existsSync(gateway.dataDir)
  const file = new IdentityFile(dataPaths(config).identityDir)
  const { identity, validity, clockIsWrong } = await enrollGateway({
    file,
    gatewayId: gateway.id,
    url: options.url,
    token: tokenOf(options, environmentToken),
    apiAuthority: options.caFile === undefined ? null : readPem('--ca-file', options.caFile),
    replace: options.replace,
    clock,
  })
  const notAfter = new Date(validity.notAfterMs).toISOString()
  const address = uplink.address || identity.ingestAddress
  if (options.json) {
    const shown = { gatewayId: identity.gatewayId, notAfter, uplinkAddress: address, file: file.path }
    terminal.out(`${JSON.stringify(shown, null, 2)}\n`)
  } else {
    terminal.out(`gateway ${identity.gatewayId} is enrolled until ${notAfter}; the certificate renews itself\n`)
  }
  const { caution } = terminal.paint
  const warn = (text: string): void => terminal.err(`${caution('warning:')} ${text}\n`)
  if (clockIsWrong) warn(`${datesInWords(validity, clock.wallMs())}: set the clock, or the uplink will not connect`)
  if (isNewPlace && process.getuid?.() === 0)
    warn(`${gateway.dataDir} was made and belongs to root: chown it to the user that runs busbar-edge`)
  if (address === null) warn('the cloud did not say where its ingest is: set uplink.address')
  if (uplink.insecure) warn('uplink.insecure is true, so the certificate is not used')
  if (uplink.tls.certFile !== '') warn('uplink.tls.certFile is set, so that certificate is used, not this one')
  terminal.err('a gateway that runs dials with it by itself; busbar-edge status shows how that goes\n')
  return EXIT_OK
}

function tokenOf({ token, tokenFile }: EnrollOptions, environmentToken: string | undefined): string {
  if (token !== undefined && tokenFile !== undefined) throw usage('--token and --token-file are two ways of the same')
  if (tokenFile !== undefined || token === '-') return readToken(tokenFile ?? '-')
  const given = token ?? environmentToken
  if (given === undefined || given === '') throw usage('there is no token')
  return given
}

function readToken(file: string): string {
  try {
    // 0 is standard input.
    return readFileSync(file === '-' ? 0 : file, 'utf8')
  } catch (cause) {
    throw new BusbarError(`cannot read the token from ${file === '-' ? 'standard input' : file}: ${messageOf(cause)}`, {
      code: 'ENROLMENT_TOKEN_UNREADABLE',
      hint: 'Name a file that holds the token and that this user may read, or "-" for standard input.',
      cause,
    })
  }
}

function usage(message: string): BusbarError {
  return new BusbarError(message, {
    code: 'USAGE',
    hint: `Give it by --token-file <file>, "--token-file -" for standard input, or the variable ${ENROLMENT_TOKEN_VARIABLE}.`,
  })
}
