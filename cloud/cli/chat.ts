/** `busbar-cloud chat`: conversations for whoever has a terminal, and for scripts. */

import { type Command, Option } from 'commander'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import { writeTable } from '../../shared/cli/table.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { Random } from '../../shared/random.ts'
import type { PageBody } from './api-client.ts'
import { type ApiTools, type ListFlags, limitOption } from './api-options.ts'
import type { ConversationBody, NewConversation } from './chat-api.ts'
import { addFollowCommands } from './chat-follow-commands.ts'
import { addMemberCommands } from './chat-members.ts'
import { addMessageCommands } from './chat-messages.ts'
import { addChatOptions, type ChatFlags, type ChatTools, chatAction, chatTools, tellMore } from './chat-options.ts'
import { jsonLine, messageLine, visible } from './chat-text.ts'
import { positiveInteger } from './values.ts'

interface StartFlags extends ChatFlags {
  readonly title?: string
  readonly site?: number
  readonly task?: string
  readonly alert?: string
}

/** In a terminal; a pipe has all of it. */
const TITLE_CHARS = 30
const TEXT_CHARS = 60
const TEXT_CHARS_MIN = 20
/** What stands before the text, with a title that is not short. */
const OTHER_CHARS = 95

/** @param user who one is where --as does not say and nobody is logged in. */
export function addChatCommands(line: CommandLine, tools: ApiTools & { readonly random: Random }, user: string): void {
  const action = chatAction(line.action)
  const chat = line.program.command('chat').description('conversations between operators, dispatchers and field crews')
  const chats = chatTools(tools, user)
  const { terminal } = tools

  addChatOptions(chat.command('list').description('list your conversations, the latest first'))
    .option('--archived', 'the archived ones as well')
    .addOption(limitOption())
    .action(
      action(async (flags: ChatFlags & ListFlags & { readonly archived?: boolean }) => {
        const page = await chats.api(flags).list(flags.limit, flags.archived)
        if (flags.json) terminal.out(jsonLine(page.items))
        else writeConversations(page, chats)
        return EXIT_OK
      }),
    )
  addChatOptions(chat.command('people [search]').description('list whom you may talk to, and whether they are there'))
    .addOption(limitOption())
    .action(
      action(async (search: string | undefined, flags: ChatFlags & ListFlags) => {
        const { items, nextCursor } = await chats.api(flags).people(search, flags.limit)
        if (flags.json) {
          terminal.out(jsonLine(items))
          return EXIT_OK
        }
        const rows = items.map(({ userId, name, presence: { state, lastSeenAt } }) => [
          ...[userId, name === null ? '-' : visible(name), state, lastSeenAt ?? '-'],
        ])
        writeTable(terminal, ['USER', 'NAME', 'STATE', 'LAST SEEN'], rows)
        tellMore(nextCursor, terminal)
        return EXIT_OK
      }),
    )
  addStartOptions(addChatOptions(chat.command('start [users...]').description('begin a conversation'))).action(
    action(async (userIds: readonly string[], flags: StartFlags) => {
      const begun = await chats.api(flags).begin(wantedOf(userIds, flags))
      if (flags.json) terminal.out(jsonLine(begun))
      else {
        terminal.out(`${begun.conversationId}\n`)
        terminal.err(
          `${visible(begun.title)}; \`busbar-cloud chat send ${begun.conversationId}\` says something there\n`,
        )
      }
      return EXIT_OK
    }),
  )
  addMessageCommands(chat, action, chats)
  addFollowCommands(chat, action, chats)
  addMemberCommands(chat, action, chats)
}

function addStartOptions(command: Command): Command {
  return command
    .option('--title <title>', 'begin a group of this title, with the users named')
    .addOption(new Option('--site <id>', 'the conversation about a site').argParser(positiveInteger))
    .option('--task <task>', 'the conversation about a task')
    .option('--alert <alert>', 'the conversation about an alert')
    .addHelpText('after', START_HELP)
}

const START_HELP = `
With one user it is the conversation between you two, with --title a group. About a site, a task or an alert there is one
conversation, which whoever may see that joins. Prints its id; what is there already is not begun again.

Examples:
  busbar-cloud chat start ben
  busbar-cloud chat start --title "Night shift" ben cleo
  busbar-cloud chat start --alert alert-0123456789abcdef`

/** @throws BusbarError USAGE */
function wantedOf(userIds: readonly string[], { title, site, task, alert }: StartFlags): NewConversation {
  const [one] = userIds
  const subjects = [site, task, alert].filter((each) => each !== undefined).length
  if (subjects > 1 || (subjects === 1 && (title !== undefined || one !== undefined))) {
    throw usage(
      'a conversation is about one thing',
      'give users, or one of --site, --task and --alert; add others later',
    )
  }
  if (site !== undefined) return { kind: 'site', siteId: site }
  if (task !== undefined) return { kind: 'task', taskId: task }
  if (alert !== undefined) return { kind: 'alert', alertId: alert }
  if (title !== undefined) return { kind: 'group', title, userIds }
  if (one !== undefined && userIds.length === 1) return { kind: 'direct', with: one }
  throw usage(
    one === undefined ? 'with whom, or about what?' : 'a group has a title',
    'name one user; several with --title; or give --site, --task or --alert',
  )
}

function writeConversations({ items, nextCursor }: PageBody<ConversationBody>, { terminal }: ChatTools): void {
  const { isInteractive, columns } = terminal
  const textChars = Math.max(TEXT_CHARS_MIN, Math.min(TEXT_CHARS, (columns ?? Infinity) - OTHER_CHARS))
  const rows = items.map((conversation) => {
    const { conversationId, kind, title, unreadCount, lastMessage, lastActivityAt, archivedAt } = conversation
    const said = lastMessage === null ? '-' : wordsOf(messageLine(lastMessage, true))
    return [
      conversationId,
      archivedAt === null ? kind : `${kind}, archived`,
      isInteractive ? clipped(visible(title), TITLE_CHARS) : visible(title),
      unreadCount > 0 ? terminal.paint.caution(String(unreadCount)) : '0',
      lastActivityAt,
      isInteractive ? clipped(said, textChars) : said,
    ]
  })
  writeTable(terminal, ['CONVERSATION', 'KIND', 'TITLE', 'UNREAD', 'LAST', 'MESSAGE'], rows)
  if (rows.length === 0) terminal.err('you are in no conversation; `busbar-cloud chat start` begins one\n')
  tellMore(nextCursor, terminal)
}

function wordsOf({ who, what }: ReturnType<typeof messageLine>): string {
  return who === null ? what : `${who}: ${what}`
}

function clipped(text: string, max: number): string {
  const characters = [...text]
  return characters.length <= max ? text : `${characters.slice(0, max - 1).join('')}…`
}

function usage(message: string, hint: string): BusbarError {
  return new BusbarError(message, { code: 'USAGE', hint })
}
