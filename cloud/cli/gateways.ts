/** `busbar-cloud gateway`: which gateways there are, how they enrol, and what they may. */

import { type Command, InvalidArgumentError, Option } from 'commander'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import { HOUR_MS } from '../../shared/durations.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { certificateBody, tokenBody } from '../api/schemas/enrolment.ts'
import type { gatewayBody } from '../api/schemas/gateway.ts'
import { type ApiFlags, type ApiTools, addApiOptions, type ListFlags, limitOption, writeJson } from './api-options.ts'
import { durationMs } from './values.ts'

type GatewayBody = ReturnType<typeof gatewayBody>
type CertificateBody = ReturnType<typeof certificateBody>
type TokenBody = ReturnType<typeof tokenBody>
type CreatedTokenBody = TokenBody & { readonly token: string; readonly url: string | null }

interface TokenFlags extends ApiFlags {
  readonly site?: readonly number[]
  /** Milliseconds. */
  readonly expiresIn?: number
  readonly list?: boolean
  readonly revoke?: string
}

interface RevokeFlags extends ApiFlags {
  readonly all?: boolean
  readonly reason?: string
}

const PATH = '/api/v1/gateways'

export function addGatewayCommands(line: CommandLine, tools: ApiTools): void {
  const { action } = line
  const gateway = line.program.command('gateway').description('gateways: how they enrol, and what they may')

  addList(gateway, line, tools)
  addApiOptions(
    gateway.command('token <gateway>').description('make a token with which a gateway enrols, and print it this once'),
  )
    .addOption(
      new Option(
        '--site <id>',
        'a site that it may speak for, which a new gateway needs; may be given several times',
      ).argParser(siteIds),
    )
    .addOption(new Option('--expires-in <time>', 'how long the token is good, such as 2h').argParser(durationMs))
    .addOption(new Option('--list', 'list the tokens of the gateway instead').conflicts(['site', 'revoke']))
    .addOption(new Option('--revoke <id>', 'take a token back instead').conflicts(['site', 'list']))
    .addHelpText('after', TOKEN_HELP)
    .action(action((id: string, flags: TokenFlags) => token(id, flags, tools)))
  addApiOptions(
    gateway.command('certificates <gateway>').description('list the certificates of a gateway, the newest first'),
  ).action(action((id: string, flags: ApiFlags) => certificates(id, flags, tools)))
  addApiOptions(
    gateway
      .command('revoke <gateway> [serial]')
      .description('revoke one of its certificates, or all; its stream ends at once, and for ever'),
  )
    .option('--all', 'all of its certificates, and the tokens that are still good')
    .option('--reason <text>', 'why, for whoever looks later')
    .action(action((id: string, serial: string | undefined, flags: RevokeFlags) => revoke(id, serial, flags, tools)))
  addApiOptions(
    gateway
      .command('sites')
      .description('show the sites that a gateway may speak for, or say which: all of them')
      .argument('<gateway>')
      .argument('[sites...]', 'ids of sites', siteIds),
  )
    .option('--register', 'register the gateway first, for one whose certificate is made elsewhere')
    .action(
      action((id: string, given: readonly number[], flags: ApiFlags & { readonly register?: boolean }) =>
        sites(id, given, flags, tools),
      ),
    )
}

const TOKEN_HELP = `
Only the token is printed on standard output, so that it can go where nobody reads it on the way:

  busbar-cloud gateway token gw-7 --site 1 | ssh gw-7 busbar-edge enroll --url https://cloud.example:8080 --token-file -`

function addList(gateway: Command, { action }: CommandLine, tools: ApiTools): void {
  const { terminal } = tools
  addApiOptions(gateway.command('list').description('list gateways'))
    .addOption(limitOption())
    .action(
      action(async (flags: ApiFlags & ListFlags) => {
        const page = await tools.api(flags).list<GatewayBody>(PATH, {}, flags.limit)
        if (flags.json) writeJson(terminal, page.items)
        else {
          const { paint } = terminal
          const rows = page.items.map((each) => [
            each.id,
            each.connected ? paint.good('connected') : paint.faint('away'),
            each.softwareVersion ?? '-',
            each.lastSeenAt ?? '-',
            each.backlog === null ? '-' : String(each.backlog.records),
          ])
          writeTable(terminal, ['GATEWAY', 'STATE', 'VERSION', 'LAST SEEN', 'BACKLOG'], rows)
          if (page.nextCursor !== null) terminal.err('there are more: --limit shows them\n')
        }
        return EXIT_OK
      }),
    )
}

async function token(id: string, flags: TokenFlags, { api, terminal }: ApiTools): Promise<number> {
  const path = `${pathOf(id)}/enrolment-tokens`
  const client = api(flags)
  if (flags.revoke !== undefined) {
    await client.delete(`${path}/${encodeURIComponent(flags.revoke)}`)
    terminal.err(`the token ${flags.revoke} cannot be redeemed any more\n`)
    return EXIT_OK
  }
  if (flags.list) {
    const { items } = await client.get<{ readonly items: readonly TokenBody[] }>(path)
    if (flags.json) writeJson(terminal, items)
    else writeTokens(items, terminal)
    return EXIT_OK
  }
  const { site, expiresIn } = flags
  const made = await client.postOnce<CreatedTokenBody>(path, {
    ...(site === undefined ? {} : { siteIds: site }),
    ...(expiresIn === undefined ? {} : { expiresInHours: expiresIn / HOUR_MS }),
  })
  if (flags.json) {
    writeJson(terminal, made)
    return EXIT_OK
  }
  terminal.out(`${made.token}\n`)
  terminal.err(`good until ${made.expiresAt}, once; this is the only time that it is shown. On the gateway, type\n\n`)
  terminal.err(`  busbar-edge enroll --url ${made.url ?? flags.url} --token-file -\n\n`)
  terminal.err('and paste the token, then Ctrl-D; or name a file that holds it.\n')
  return EXIT_OK
}

async function certificates(id: string, flags: ApiFlags, { api, terminal, clock }: ApiTools): Promise<number> {
  const { items } = await api(flags).get<{ readonly items: readonly CertificateBody[] }>(`${pathOf(id)}/certificates`)
  if (flags.json) writeJson(terminal, items)
  else {
    const rows = items.map((each) => [
      each.serial,
      stateOf(each, terminal, clock.wallMs()),
      each.issuedFor,
      each.issuedAt,
      each.notAfter,
      each.revokedAt === null ? '' : `${each.revokedReason} (${each.revokedBy})`,
    ])
    writeTable(terminal, ['SERIAL', 'STATE', 'FOR', 'ISSUED', 'GOOD UNTIL', 'REVOKED FOR'], rows)
  }
  return EXIT_OK
}

async function revoke(
  id: string,
  serial: string | undefined,
  flags: RevokeFlags,
  { api, terminal }: ApiTools,
): Promise<number> {
  if ((serial === undefined) === (flags.all !== true)) {
    throw new BusbarError('which certificate?', { code: 'USAGE', hint: 'give its serial, or --all' })
  }
  const path = serial === undefined ? 'revoke-all' : `certificates/${encodeURIComponent(serial)}/revoke`
  const body = flags.reason === undefined ? {} : { reason: flags.reason }
  const answer = await api(flags).postOnce<{ readonly revoked: number }>(`${pathOf(id)}/${path}`, body)
  if (flags.json) writeJson(terminal, answer)
  else terminal.err(`${answer.revoked} revoked; \`busbar-cloud gateway token ${id}\` lets the gateway in again\n`)
  return EXIT_OK
}

async function sites(
  id: string,
  given: readonly number[],
  flags: ApiFlags & { readonly register?: boolean },
  { api, terminal }: ApiTools,
): Promise<number> {
  const client = api(flags)
  const path = `${pathOf(id)}/sites`
  if (flags.register) await client.post(PATH, { id })
  const now =
    given.length === 0
      ? await client.get<{ readonly siteIds: readonly number[] }>(path)
      : await client.patch<{ readonly siteIds: readonly number[] }>(path, { siteIds: [...new Set(given)] })
  if (flags.json) writeJson(terminal, now)
  else if (now.siteIds.length === 0) terminal.err(`${id} may not speak for any site\n`)
  else terminal.out(`${now.siteIds.join('\n')}\n`)
  return EXIT_OK
}

function writeTokens(tokens: readonly TokenBody[], terminal: Terminal): void {
  const rows = tokens.map((each) => [
    each.id,
    each.state === 'OPEN' ? terminal.paint.good('open') : terminal.paint.faint(each.state.toLowerCase()),
    each.createdBy,
    each.createdAt,
    each.expiresAt,
    each.redeemedFrom ?? '-',
  ])
  writeTable(terminal, ['TOKEN', 'STATE', 'BY', 'MADE', 'GOOD UNTIL', 'REDEEMED FROM'], rows)
}

function stateOf({ revokedAt, notAfter }: CertificateBody, { paint }: Terminal, nowMs: number): string {
  if (revokedAt !== null) return paint.faint('revoked')
  return Date.parse(notAfter) <= nowMs ? paint.faint('ended') : paint.good('good')
}

function siteIds(text: string, before: readonly number[] = []): number[] {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('A site is a number from 1 to 999999999.')
  return [...before, Number(text)]
}

function pathOf(id: string): string {
  return `${PATH}/${encodeURIComponent(id)}`
}
