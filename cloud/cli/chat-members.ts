/** `busbar-cloud chat members` and what changes who is in a conversation, or whether it goes on. */

import type { Command } from 'commander'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import { writeTable } from '../../shared/cli/table.ts'
import { type ListFlags, limitOption } from './api-options.ts'
import { addChatOptions, type ChatFlags, type ChatTools, tellMore } from './chat-options.ts'
import { jsonLine, visible } from './chat-text.ts'

export function addMemberCommands(chat: Command, action: CommandLine['action'], chats: ChatTools): void {
  const { terminal } = chats
  const done = (flags: ChatFlags, answer: unknown, words: string): number => {
    if (flags.json) terminal.out(jsonLine(answer ?? null))
    else terminal.err(`${words}\n`)
    return EXIT_OK
  }

  addChatOptions(chat.command('members <conversation>').description('list who is in it, and how far they have read'))
    .addOption(limitOption())
    .action(
      action(async (id: string, flags: ChatFlags & ListFlags) => {
        const { items, nextCursor } = await chats.api(flags).members(id, flags.limit)
        if (flags.json) {
          terminal.out(jsonLine(items))
          return EXIT_OK
        }
        const rows = items.map(({ userId, name, role, readPosition, deliveredPosition, joinedAt }) => [
          ...[userId, name === null ? '-' : visible(name), role],
          ...[String(readPosition), String(deliveredPosition), joinedAt],
        ])
        writeTable(terminal, ['USER', 'NAME', 'ROLE', 'READ', 'DELIVERED', 'JOINED'], rows)
        tellMore(nextCursor, terminal)
        return EXIT_OK
      }),
    )
  addChatOptions(chat.command('add <conversation> <users...>').description('add people to a conversation')).action(
    action(async (id: string, userIds: readonly string[], flags: ChatFlags) => {
      const answer = await chats.api(flags).add(id, userIds)
      const { added } = answer
      return done(flags, answer, added.length === 0 ? 'they are in it already' : `added ${added.join(', ')}`)
    }),
  )
  addChatOptions(chat.command('remove <conversation> <user>').description('remove somebody from a group')).action(
    action(async (id: string, userId: string, flags: ChatFlags) =>
      done(flags, await chats.api(flags).remove(id, userId), `removed ${userId}`),
    ),
  )
  addChatOptions(chat.command('leave <conversation>').description('leave a conversation')).action(
    action(async (id: string, flags: ChatFlags) => {
      const api = chats.api(flags)
      return done(flags, await api.remove(id, await api.whoAmI()), 'you have left it')
    }),
  )
  addChatOptions(
    chat
      .command('role <conversation> <user> <role>')
      .description('make a member of a group an owner, or a member again'),
  ).action(
    action(async (id: string, userId: string, role: string, flags: ChatFlags) =>
      done(flags, await chats.api(flags).setRole(id, userId, role), `${userId} is ${role}`),
    ),
  )
  addChatOptions(chat.command('rename <conversation> <title>').description('give a group another title')).action(
    action(async (id: string, title: string, flags: ChatFlags) => {
      const changed = await chats.api(flags).change(id, { title })
      return done(flags, changed, `it is ${visible(changed.title)}`)
    }),
  )
  for (const [name, archived, description, words] of [
    [
      'archive',
      true,
      'end a conversation: it can still be read',
      'it is archived; `busbar-cloud chat reopen` opens it again',
    ],
    ['reopen', false, 'go on with a conversation that was archived', 'it goes on'],
  ] as const) {
    addChatOptions(chat.command(`${name} <conversation>`).description(description)).action(
      action(async (id: string, flags: ChatFlags) =>
        done(flags, await chats.api(flags).change(id, { archived }), words),
      ),
    )
  }
}
