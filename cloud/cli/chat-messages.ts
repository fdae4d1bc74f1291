/** `busbar-cloud chat send`, `history` and `read`, and what becomes of a single message. */

import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import { writeTable } from '../../shared/cli/table.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { randomHex } from '../../shared/random.ts'
import { type ListFlags, limitOption } from './api-options.ts'
import type { Said } from './chat-api.ts'
import { addChatOptions, type ChatFlags, type ChatTools, tellMore } from './chat-options.ts'
import { jsonLine, lineText, messageLine } from './chat-text.ts'
import { collected, positiveInteger } from './values.ts'

interface SayFlags extends ChatFlags {
  readonly mention?: readonly string[]
  readonly link?: readonly string[]
}
interface HistoryFlags extends ChatFlags, ListFlags {
  readonly search?: string
}

export function addMessageCommands(chat: Command, action: CommandLine['action'], chats: ChatTools): void {
  const { terminal, random } = chats

  addSayOptions(
    chat.command('send <conversation> <text...>').description('say something; - for what standard input holds'),
  )
    .option('--client-id <name>', 'your name for the message: sent again under it, it is the same message')
    .addHelpText('after', SEND_HELP)
    .action(
      action(async (id: string, words: readonly string[], flags: SayFlags & { readonly clientId?: string }) => {
        const sent = await chats.api(flags).send(id, saidOf(words, flags), flags.clientId ?? randomHex(random, 12))
        terminal.out(flags.json ? jsonLine(sent) : `${sent.messageId}\n`)
        return EXIT_OK
      }),
    )
  addSayOptions(
    chat.command('edit <conversation> <message> <text...>').description('change what a message of yours says'),
  )
    .addHelpText('after', EDIT_HELP)
    .action(
      action(async (id: string, message: string, words: readonly string[], flags: SayFlags) => {
        const edited = await chats.api(flags).edit(id, message, saidOf(words, flags))
        if (flags.json) terminal.out(jsonLine(edited))
        else terminal.err('it is changed; what it said before is kept\n')
        return EXIT_OK
      }),
    )
  addChatOptions(
    chat
      .command('delete <conversation> <message>')
      .description('delete a message of yours, or as an owner of the group anybody’s'),
  )
    .addHelpText('after', MESSAGE_HELP)
    .action(
      action(async (id: string, message: string, flags: ChatFlags) => {
        const deleted = await chats.api(flags).delete(id, message)
        if (flags.json) terminal.out(jsonLine(deleted))
        else terminal.err('it is deleted\n')
        return EXIT_OK
      }),
    )
  addChatOptions(
    chat.command('receipts <conversation> <message>').description('list who has got a message, and who has read it'),
  )
    .addHelpText('after', MESSAGE_HELP)
    .addOption(limitOption())
    .action(
      action(async (id: string, message: string, flags: ChatFlags & ListFlags) => {
        const { items, nextCursor } = await chats.api(flags).receipts(id, message, flags.limit)
        if (flags.json) {
          terminal.out(jsonLine(items))
          return EXIT_OK
        }
        const rows = items.map(({ userId, status }) => [userId, status.toLowerCase()])
        writeTable(terminal, ['USER', 'STATUS'], rows)
        tellMore(nextCursor, terminal)
        return EXIT_OK
      }),
    )
  addChatOptions(chat.command('history <conversation>').description('what was said, the newest last'))
    .option('--search <text>', 'only messages with this in them')
    .addOption(limitOption())
    .action(action((id: string, flags: HistoryFlags) => history(id, flags, chats)))
  addChatOptions(chat.command('read <conversation>').description('mark everything that was said as read'))
    .addOption(new Option('--up-to <number>', 'only up to this message').argParser(positiveInteger))
    .action(
      action(async (id: string, flags: ChatFlags & { readonly upTo?: number }) => {
        const api = chats.api(flags)
        const position = flags.upTo ?? (await api.get(id)).lastRevision
        const marks = await api.read(id, position)
        if (flags.json) terminal.out(jsonLine(marks))
        return EXIT_OK
      }),
    )
}

const SEND_HELP = `
A message is sent once however often the command is run again under the same --client-id, so a script can repeat it until it
succeeds. Without one a name is drawn, and what goes wrong on the way is tried again by itself. A text that begins with -
comes behind all options and --.

Examples:
  busbar-cloud chat send conv-0123456789abcdef01234567 Feeder 3 is open --mention ben
  journalctl -n 20 | busbar-cloud chat send conv-0123456789abcdef01234567 -`

const MESSAGE_HELP = `
A message is named by its number in the conversation, which \`chat history\` shows, or by its id.`

const EDIT_HELP = `${MESSAGE_HELP} Mentions and
links stay as they are unless others are given.

Example:
  busbar-cloud chat edit conv-0123456789abcdef01234567 12 Feeder 3 is closed`

function addSayOptions(command: Command): Command {
  return addChatOptions(command)
    .addOption(new Option('--mention <user>', 'tell this member of it by itself; may be repeated').argParser(collected))
    .addOption(new Option('--link <url>', 'what it is about, http or https; may be repeated').argParser(collected))
}

function saidOf(words: readonly string[], { mention, link }: SayFlags): Said {
  return {
    content: words.length === 1 && words[0] === '-' ? standardInput() : words.join(' '),
    ...(mention === undefined ? {} : { mentions: mention }),
    ...(link === undefined ? {} : { links: link.map((url) => ({ url })) }),
  }
}

async function history(id: string, flags: HistoryFlags, chats: ChatTools): Promise<number> {
  const { terminal } = chats
  const api = chats.api(flags)
  const { items, nextCursor } =
    flags.search === undefined ? await api.history(id, flags.limit) : await api.search(id, flags.search, flags.limit)
  if (flags.json) {
    terminal.out(jsonLine(items))
    return EXIT_OK
  }
  for (const message of items.toReversed()) {
    const status = message.status == null ? '' : terminal.paint.faint(` (${message.status.toLowerCase()})`)
    const text = lineText(messageLine(message, true), terminal)
    terminal.out(terminal.isInteractive ? text.replace(/\n$/, `${status}\n`) : text)
  }
  if (items.length === 0) terminal.err('nothing was found\n')
  tellMore(nextCursor, terminal)
  return EXIT_OK
}

/** All of it, without the end of the last line. @throws BusbarError USAGE */
function standardInput(): string {
  try {
    return readFileSync(0, 'utf8').replace(/\r?\n$/, '')
  } catch (cause) {
    throw new BusbarError(`standard input cannot be read: ${messageOf(cause)}`, {
      code: 'USAGE',
      hint: 'pipe the text in',
    })
  }
}
