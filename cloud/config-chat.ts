/** Settings of conversations. */

import { count, milliseconds, section } from '../shared/config/keys.ts'

export const chat = section('Conversations between people.', {
  contentCharsMax: count(
    4_000,
    [1, 16_000],
    'characters',
    'Longest message, in UTF-16 code units; a longer one is refused',
  ),
  messagesPerMinute: count(
    120,
    [1, 100_000],
    'messages',
    'Messages, edits and deletions of one user in a minute, and as many changes of conversations and their members, at each ' +
      'core; more are refused with the time to wait',
  ),
  messagesBurst: count(30, [1, 100_000], 'messages', 'Of them at once, after a pause'),
  membersMax: count(1_000, [2, 5_000], 'members', 'Members of one conversation; another one is refused'),
  conversationsMax: count(
    2_000,
    [10, 100_000],
    'conversations',
    'Conversations that one user may be in; another one is refused',
  ),
  receiptsMembersMax: count(
    50,
    [2, 5_000],
    'members',
    'In larger conversations senders are not told of each member that has got or read a message; all can look it up',
  ),
  mentionsMax: count(50, [0, 1_000], 'mentions', 'Members that one message may mention; more are refused'),
  linksMax: count(10, [0, 100], 'links', 'Links that one message may have; more are refused'),
  typingIntervalMs: milliseconds(
    3_000,
    [100, 60_000],
    'One user in one conversation is said to be typing once in so long; what comes between is left out',
  ),
  typingExpiryMs: milliseconds(
    6_000,
    [200, 120_000],
    'Who says no more that they are typing has stopped after so long',
  ),
  awayAfterMs: milliseconds(300_000, [1_000, 86_400_000], 'A user whose sockets have sent nothing for so long is away'),
  offlineAfterMs: milliseconds(
    15_000,
    [1_000, 600_000],
    'How long a core that died still counts as having its sockets',
  ),
  noticeAfterMs: milliseconds(
    15_000,
    [0, 3_600_000],
    'Who seems to be there and has not got a message after so long is notified as if they were not',
  ),
  refusalsMax: count(
    200,
    [10, 100_000],
    'refusals',
    'Frames of one socket that may be refused within a minute; at one more the socket is closed (1008)',
  ),
  keptDays: count(730, [1, 36_500], 'days', 'How long messages are kept'),
})
