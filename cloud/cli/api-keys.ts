/** `busbar-cloud api-key`: how programs log in. */

import { closeSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { Option } from 'commander'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { apiKeyBody } from '../api/schemas/api-key.ts'
import type { Grant } from '../identity/roles.ts'
import { type ApiFlags, type ApiTools, addApiOptions, type ListFlags, limitOption, writeJson } from './api-options.ts'
import { collectedGrants, grantsText } from './grants.ts'
import { collected, durationMs } from './values.ts'

type ApiKeyBody = ReturnType<typeof apiKeyBody>

interface CreateFlags extends ApiFlags {
  readonly scope: readonly string[]
  readonly grant: readonly Grant[]
  /** Milliseconds. */
  readonly expiresIn?: number
  readonly out?: string
}

const PATH = '/api/v1/api-keys'

export function addApiKeyCommands(line: CommandLine, tools: ApiTools): void {
  const { action } = line
  const { terminal } = tools
  const apiKey = line.program.command('api-key').description('how programs log in')

  addApiOptions(apiKey.command('create <name>').description('make a key for a program, and print it this once'))
    .addOption(
      new Option('--scope <scope>', 'what it may ask, such as telemetry:read; may be given several times')
        .argParser(collected)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--grant <role>', 'what it may do where, such as viewer@1; may be given several times')
        .argParser(collectedGrants)
        .makeOptionMandatory(),
    )
    .addOption(new Option('--expires-in <time>', 'how long it is good, such as 90d').argParser(durationMs))
    .option('--out <file>', 'write it to a new file that nobody else can open, instead of printing it')
    .addHelpText('after', CREATE_HELP)
    .action(action((name: string, flags: CreateFlags) => create(name, flags, tools)))
  addApiOptions(apiKey.command('list').description('list keys, the newest first'))
    .addOption(limitOption())
    .action(
      action(async (flags: ApiFlags & ListFlags) => {
        const page = await tools.api(flags).list<ApiKeyBody>(PATH, {}, flags.limit)
        if (flags.json) writeJson(terminal, page.items)
        else {
          writeKeys(page.items, terminal, tools.clock.wallMs())
          if (page.nextCursor !== null) terminal.err('there are more: --limit shows them\n')
        }
        return EXIT_OK
      }),
    )
  addApiOptions(apiKey.command('revoke <id>').description('end a key for good')).action(
    action(async (id: string, flags: ApiFlags) => {
      const revoked = await tools.api(flags).postOnce<ApiKeyBody>(`${PATH}/${encodeURIComponent(id)}/revoke`, {})
      if (flags.json) writeJson(terminal, revoked)
      else terminal.err(`${revoked.name} is revoked since ${revoked.revokedAt}\n`)
      return EXIT_OK
    }),
  )
}

const CREATE_HELP = `
A key does what its scopes name, where its roles say, and never more than you may: it loses what you lose. Scopes are the
groups of the documentation at /docs, or * for all of them, with :read or :write behind.

Examples:
  busbar-cloud api-key create billing --scope telemetry:read --grant viewer --expires-in 90d --out billing.key
  busbar-cloud task list --token-file billing.key`

async function create(name: string, flags: CreateFlags, { api, terminal, clock }: ApiTools): Promise<number> {
  const { scope, grant, expiresIn, out } = flags
  const expiresAt = expiresIn === undefined ? {} : { expiresAt: new Date(clock.wallMs() + expiresIn).toISOString() }
  const body = { name, scopes: scope, grants: grant, ...expiresAt }
  // Before there is a key that could then be kept nowhere.
  const file = out === undefined ? null : newPrivateFile(out)
  let made: ApiKeyBody & { readonly key: string }
  try {
    made = await api(flags).postOnce(PATH, body)
    if (file !== null) writeFileSync(file, `${made.key}\n`)
  } catch (error) {
    if (out !== undefined) rmSync(out, { force: true })
    throw error
  } finally {
    if (file !== null) closeSync(file)
  }
  const { key, ...shown } = made
  if (flags.json) {
    writeJson(terminal, out === undefined ? made : shown)
    return EXIT_OK
  }
  if (out === undefined) terminal.out(`${key}\n`)
  const until = made.expiresAt === null ? 'without end' : `until ${made.expiresAt}`
  terminal.err(
    `${made.id}, ${until}; ${out === undefined ? 'this is the only time that it is shown' : `it is in ${out}`}\n`,
  )
  return EXIT_OK
}

function newPrivateFile(path: string): number {
  try {
    return openSync(path, 'wx', 0o600)
  } catch (cause) {
    throw new BusbarError(`the key cannot be kept in ${path}: ${messageOf(cause)}`, {
      code: 'USAGE',
      hint: 'give --out a file that does not exist yet, in a directory that this user may write to',
      cause,
    })
  }
}

function writeKeys(keys: readonly ApiKeyBody[], terminal: Terminal, nowMs: number): void {
  const rows = keys.map((key) => [
    key.id,
    key.name,
    stateOf(key, terminal, nowMs),
    key.scopes.join(' '),
    grantsText(key.grants),
    key.createdBy,
    key.expiresAt ?? '-',
    key.lastUsedAt ?? '-',
  ])
  writeTable(terminal, ['KEY', 'NAME', 'STATE', 'SCOPES', 'ROLES', 'BY', 'EXPIRES', 'LAST USED'], rows)
}

function stateOf({ revokedAt, expiresAt }: ApiKeyBody, { paint }: Terminal, nowMs: number): string {
  if (revokedAt !== null) return paint.faint('revoked')
  return expiresAt !== null && Date.parse(expiresAt) <= nowMs ? paint.faint('expired') : paint.good('good')
}
