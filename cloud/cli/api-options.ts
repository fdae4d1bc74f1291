/** What the commands that ask a running core have in common. */

import { type Command, Option } from 'commander'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import type { Random } from '../../shared/random.ts'
import { CLOUD_URL_VARIABLE } from '../config.ts'
import { ApiClient } from './api-client.ts'
import { positiveInteger } from './values.ts'

export interface ApiFlags {
  readonly url: string
  readonly json: boolean
}

export interface ListFlags {
  readonly limit: number
}

export interface ApiTools {
  readonly terminal: Terminal
  readonly clock: Clock
  /** The core that the flags name. */
  api(flags: ApiFlags): ApiClient
}

const DEFAULT_URL = 'http://127.0.0.1:8080'
const LIMIT = 50

export function apiTools(terminal: Terminal, tools: { readonly clock: Clock; readonly random: Random }): ApiTools {
  return { terminal, clock: tools.clock, api: ({ url }) => new ApiClient({ url, ...tools }) }
}

export function addApiOptions(command: Command): Command {
  return command
    .addOption(new Option('--url <url>', 'address of the core').env(CLOUD_URL_VARIABLE).default(DEFAULT_URL))
    .addOption(new Option('--json', 'print JSON, for programs').default(false))
}

export function limitOption(): Option {
  return new Option('--limit <n>', 'list so many at most').argParser(positiveInteger).default(LIMIT)
}

export function writeJson(terminal: Terminal, value: unknown): void {
  terminal.out(`${JSON.stringify(value, null, 2)}\n`)
}
