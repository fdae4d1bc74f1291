/** `busbar-cloud chat follow`: what is said, as it is said. */

import type { Command } from 'commander'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import { ChatFollow } from './chat-follow.ts'
import { addChatOptions, type ChatFlags, type ChatTools } from './chat-options.ts'
import { jsonLine, lineText, messageLine, statusLine } from './chat-text.ts'

/** More than anybody may be in. */
const CONVERSATIONS_MAX = 100_000

export function addFollowCommands(chat: Command, action: CommandLine['action'], chats: ChatTools): void {
  addChatOptions(
    chat
      .command('follow [conversation]')
      .description('print what is said, in one conversation or in all, until Ctrl-C'),
  )
    .addHelpText('after', FOLLOW_HELP)
    .action(action((id: string | undefined, flags: ChatFlags) => follow(id, flags, chats)))
}

const FOLLOW_HELP = `
A line is a message, with when it was sent, its conversation, its number there and who sent it; * stands for nobody, where
something happened or somebody has got or read your message. A connection that is lost is made again, and what was said
meanwhile comes first. Nothing is marked as read. With --json each line is an event as the live channel has it.`

async function follow(conversationId: string | undefined, flags: ChatFlags, chats: ChatTools): Promise<number> {
  const { terminal, clock, random } = chats
  const { api, open } = chats.connection(flags)
  const stopped = interruption()
  const userId = await api.whoAmI()
  const following = new ChatFollow({
    userId,
    conversationId,
    conversations: async () => {
      if (conversationId !== undefined) return [await api.get(conversationId)]
      return (await api.list(CONVERSATIONS_MAX, true)).items
    },
    open,
    onMessage(message, isFirst, event) {
      terminal.out(flags.json ? jsonLine(event) : lineText(messageLine(message, isFirst), terminal))
    },
    onStatus(status, event) {
      const line = statusLine(status, userId)
      if (flags.json) terminal.out(jsonLine(event))
      else if (line !== null) terminal.out(lineText(line, terminal))
    },
    onOther(event) {
      if (flags.json) terminal.out(jsonLine(event))
    },
    onConnected(isConnected, why) {
      const { paint } = terminal
      const words = isConnected
        ? paint.good('connected again')
        : `${paint.caution('not connected')}: ${why}; trying again`
      terminal.err(`${words}\n`)
    },
    clock,
    random,
    signal: stopped,
  })
  // A request that is under way is not waited for.
  await Promise.race([following.run(), new Promise((resolve) => stopped.addEventListener('abort', resolve))])
  return EXIT_OK
}

/** Ctrl-C, a supervisor's SIGTERM, or a reader that wants no more. */
function interruption(): AbortSignal {
  const stop = new AbortController()
  const abort = (): void => stop.abort()
  process.once('SIGINT', abort)
  process.once('SIGTERM', abort)
  process.stdout.once('error', abort)
  return stop.signal
}
