/** `busbar-cloud chat follow` and `chat talk`: what is said, as it is said. */

import type { Command } from 'commander'
import { EXIT_FAILED, EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import type { ChatApi, ConversationBody } from './chat-api.ts'
import { ChatFollow, type ChatFollowOptions } from './chat-follow.ts'
import { addChatOptions, type ChatConnection, type ChatFlags, type ChatTools } from './chat-options.ts'
import { ChatTalk } from './chat-talk.ts'
import { type ChatLine, jsonLine, lineText, messageLine, statusLine, visible } from './chat-text.ts'

/** More than anybody may be in. */
const CONVERSATIONS_MAX = 100_000
/** What a talk begins with at most, and in a terminal at least. */
const TALK_MAX = 100
const TALK_MIN = 10

export function addFollowCommands(chat: Command, action: CommandLine['action'], chats: ChatTools): void {
  addChatOptions(
    chat
      .command('follow [conversation]')
      .description('print what is said, in one conversation or in all, until Ctrl-C'),
  )
    .addHelpText('after', FOLLOW_HELP)
    .action(action((id: string | undefined, flags: ChatFlags) => follow(id, flags, chats)))
  addChatOptions(
    chat
      .command('talk <conversation>')
      .description('say each line that is typed, and print what others say, until Ctrl-D'),
  )
    .addHelpText('after', TALK_HELP)
    .action(action((id: string, flags: ChatFlags) => talk(id, flags, chats)))
}

const FOLLOW_HELP = `
A line is a message, with when it was sent, its conversation, its number there and who sent it; * stands for nobody, where
something happened or somebody has got or read your message. A connection that is lost is made again, and what was said
meanwhile comes first. Nothing is marked as read. With --json each line is an event as the live channel has it.`

const TALK_HELP = `
It begins with what you have not read, of the last ${TALK_MAX} messages; what is printed counts as read. A line that cannot be
sent while no core answers, or because there are too many at once, is sent later, once. The status is 1 when a line was not
sent.`

async function follow(conversationId: string | undefined, flags: ChatFlags, chats: ChatTools): Promise<number> {
  const { terminal } = chats
  const connection = chats.connection(flags)
  const signal = interruption()
  const userId = await connection.api.whoAmI()
  const titles = new Map<string, string>()
  const titleOf = (id: string): string | undefined =>
    conversationId === undefined ? (titles.get(id) ?? id) : undefined
  const print = printer(userId, chats, terminal.out, titleOf)
  const following = followOf(chats, connection, titles, {
    ...{ userId, conversationId, signal },
    ...(flags.json ? { ...jsonPrinter(chats), onConnected: print.onConnected } : titled(print, titles, connection.api)),
  })
  await untilStopped(following.run(), signal)
  return EXIT_OK
}

async function talk(conversationId: string, flags: ChatFlags, chats: ChatTools): Promise<number> {
  const { terminal } = chats
  const connection = chats.connection(flags)
  const { api } = connection
  const stop = new AbortController()
  // Whichever ends first ends the other: a terminal that is read from has to be left as it was.
  const end = (): void => stop.abort()
  const signal = AbortSignal.any([interruption(), stop.signal])
  const userId = await api.whoAmI()
  const { title, readPosition } = await api.get(conversationId)
  if (terminal.isInteractive) terminal.err(`${visible(title)}; Ctrl-D ends the talk\n`)
  const talking = new ChatTalk({ ...chats, api, conversationId, signal, interrupt: end }, readPosition)
  const print = printer(userId, chats, (text) => talking.print(text))
  const least = terminal.isInteractive ? TALK_MIN : 0
  const following = followOf(
    chats,
    connection,
    new Map(),
    {
      ...{ userId, conversationId, signal },
      ...print,
      onMessage(message, isFirst, event) {
        print.onMessage(message, isFirst, event)
        if (message.senderId !== userId) talking.shown(message.position)
      },
    },
    ({ lastRevision, readPosition }) =>
      Math.max(0, lastRevision - TALK_MAX, Math.min(readPosition, lastRevision - least)),
  )
  const [, allSaid] = await Promise.all([
    untilStopped(following.run().finally(end), signal),
    talking.run().finally(end),
  ])
  return allSaid ? EXIT_OK : EXIT_FAILED
}

type Printer = Pick<ChatFollowOptions, 'onMessage' | 'onStatus' | 'onConnected'>

function printer(
  userId: string,
  { terminal }: ChatTools,
  out: (text: string) => void,
  titleOf: (conversationId: string) => string | undefined = () => undefined,
): Printer {
  const print = (line: ChatLine): void => out(lineText(line, terminal, titleOf(line.conversationId)))
  return {
    onMessage: (message, isFirst) => print(messageLine(message, isFirst)),
    onStatus(status) {
      const line = statusLine(status, userId)
      if (line !== null) print(line)
    },
    onConnected(isConnected, why) {
      const { paint, err } = terminal
      err(
        isConnected
          ? `${paint.good('connected again')}\n`
          : `${paint.caution('not connected')}: ${why}; trying again\n`,
      )
    },
  }
}

/** The same, which learns the titles of conversations that begin, or are renamed, meanwhile. */
function titled(
  print: Printer,
  titles: Map<string, string>,
  api: ChatApi,
): Printer & Pick<ChatFollowOptions, 'onOther'> {
  return {
    ...print,
    onMessage(message, isFirst, event) {
      const { conversationId, notice } = message
      if (notice?.title !== undefined) titles.set(conversationId, notice.title)
      print.onMessage(message, isFirst, event)
    },
    onOther(event) {
      const { event: name, change, conversationId } = event as Readonly<Record<string, unknown>>
      if (name !== 'conversation' || change !== 'joined') return
      const id = String(conversationId)
      api.get(id).then(
        ({ title }) => titles.set(id, title),
        // Until it is known the id stands there.
        () => undefined,
      )
    },
  }
}

function jsonPrinter({ terminal }: ChatTools): Pick<ChatFollowOptions, 'onMessage' | 'onStatus' | 'onOther'> {
  const out = (event: unknown): void => terminal.out(jsonLine(event))
  return {
    onMessage: (_message, _isFirst, event) => out(event),
    onStatus: (_status, event) => out(event),
    onOther: out,
  }
}

/**
 * @param titles is kept as the core last told them.
 * @param from what was said up to there is not told; absent for everything that was said before now.
 */
function followOf(
  { clock, random }: ChatTools,
  { api, open }: ChatConnection,
  titles: Map<string, string>,
  options: Omit<ChatFollowOptions, 'clock' | 'random' | 'open' | 'conversations'>,
  from = ({ lastRevision }: ConversationBody): number => lastRevision,
): ChatFollow {
  const { conversationId } = options
  const conversations = async (): Promise<readonly ConversationBody[]> => {
    if (conversationId !== undefined) {
      const conversation = await api.get(conversationId)
      return [{ ...conversation, lastRevision: from(conversation) }]
    }
    const { items } = await api.list(CONVERSATIONS_MAX, true)
    for (const each of items) titles.set(each.conversationId, each.title)
    return items
  }
  return new ChatFollow({ ...options, clock, random, open, conversations })
}

/** A request that is under way is not waited for. */
async function untilStopped(running: Promise<void>, signal: AbortSignal): Promise<void> {
  await Promise.race([running, new Promise((resolve) => signal.addEventListener('abort', resolve))])
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
