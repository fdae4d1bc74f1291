/** What the commands of conversations have in common: who one is, and the way to the core. */

import { type Command, Option } from 'commander'
import type { CommandLine } from '../../shared/cli/program.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { Random } from '../../shared/random.ts'
import type { ApiClient } from './api-client.ts'
import { type ApiFlags, type ApiTools, addApiOptions } from './api-options.ts'
import { ChatApi, ME_PATH } from './chat-api.ts'
import { LIVE_PATH, type LiveFrame, LiveSocket } from './live-socket.ts'

export interface ChatFlags extends ApiFlags {
  readonly as?: string
}

/** The live socket and the API of one caller: a token that one of them renews serves the other. */
export interface ChatConnection {
  readonly api: ChatApi
  open(onFrame: (frame: LiveFrame) => void): Promise<LiveSocket>
}

export interface ChatTools {
  readonly terminal: Terminal
  readonly clock: Clock
  readonly random: Random
  api(flags: ChatFlags): ChatApi
  connection(flags: ChatFlags): ChatConnection
}

/** @param user who one is where --as does not say and nobody is logged in; empty for nobody. */
export function chatTools(tools: ApiTools & { readonly random: Random }, user: string): ChatTools {
  const { terminal, clock, random } = tools
  const whoOf = (flags: ChatFlags): string | undefined => {
    return flags.as ?? (user === '' || tools.isSomebody(flags) ? undefined : user)
  }
  return {
    terminal,
    clock,
    random,
    api: (flags) => new ChatApi(tools.api(flags), whoOf(flags)),
    connection(flags) {
      const { api, ca, credentials } = tools.connection(flags)
      return {
        api: new ChatApi(api, whoOf(flags)),
        async open(onFrame) {
          try {
            return await LiveSocket.open({ origin: api.origin, ca, credentials, clock, onFrame })
          } catch (error) {
            await tellWhy(api)
            throw error
          }
        },
      }
    },
  }
}

export function addChatOptions(command: Command): Command {
  return addApiOptions(command).addOption(
    new Option('--as <user>', 'who you are, where nobody logs in; without it who you are on this machine'),
  )
}

/** Actions that tell whoever did not say who they are how to say it, where nobody logs in. */
export function chatAction(action: CommandLine['action']): CommandLine['action'] {
  return (fn) =>
    action(async (...args) => {
      try {
        return await fn(...args)
      } catch (error) {
        throw isNobody(error) ? new BusbarError('nobody logs in at this core: who are you?', WHO) : error
      }
    })
}

const WHO = { code: 'USAGE', hint: 'say it with --as, such as --as ann' }

/** Where nobody logs in the core wants to be told who asks, and has no path that would say it. */
function isNobody(error: unknown): boolean {
  if (!(error instanceof BusbarError)) return false
  const { code, message } = error
  return message.includes(code === 'NOT_FOUND' ? `${ME_PATH}.` : '/userId: required')
}

export function tellMore(nextCursor: string | null, { err }: Terminal): void {
  if (nextCursor !== null) err('there are more: --limit shows them\n')
}

/** A WebSocket that does not open says nothing; the same request without one does. @throws BusbarError for what it says */
async function tellWhy(api: ApiClient): Promise<void> {
  try {
    await api.get(LIVE_PATH)
  } catch (error) {
    // As it answers whoever it would let in.
    if (error instanceof BusbarError && error.code === 'UPGRADE_REQUIRED') return
    throw error
  }
}
