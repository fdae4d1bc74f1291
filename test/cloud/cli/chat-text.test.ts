import { expect, test } from 'vitest'
import {
  jsonLine,
  lineText,
  messageLine,
  type ShownMessage,
  statusLine,
  visible,
} from '../../../cloud/cli/chat-text.ts'
import { paintWith } from '../../../shared/cli/terminal.ts'

const PIPE = { paint: paintWith(false), isInteractive: false }
const SCREEN = { paint: paintWith(true), isInteractive: true }

const MESSAGE: ShownMessage = {
  conversationId: 'conv-0123456789abcdef01234567',
  messageId: 'msg-0123456789abcdef01234567',
  senderId: 'ann',
  content: 'Feeder 3 is open',
  kind: 'MESSAGE',
  position: 12,
  revision: 12,
  sentAt: '2026-11-21T10:00:00.000Z',
  links: [],
  mentions: [],
  notice: null,
  editedAt: null,
  deletedAt: null,
}
const CHANGED = '2026-11-21T10:05:00.000Z'

function said(changes: Partial<ShownMessage>, isNew = true): string {
  return lineText(messageLine({ ...MESSAGE, ...changes }, isNew), PIPE)
}

test('nothing that somebody wrote steers a terminal or leaves its line', () => {
  const written = 'one\r\ntwo\nthree\u001b[2J\u0007\u009b31m\u007f\u202eabc\u2028\ud800\u200bend\ttab'
  const line = said({ content: written, links: [{ url: 'https://x/\u001b]0;t\u0007', name: 'a\nb' }] })
  expect(line.slice(0, -1)).not.toMatch(/[^\P{Cc}\t]|[\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u)
  expect(line.split('\t')).toHaveLength(5)
  expect(visible(written)).toBe('one⏎two⏎three␛[2J␇<009b>31m␡<202e>abc<2028><d800><200b>end␉tab')
  expect(said({ notice: { action: 'renamed', title: 'x\u001b[31m' } })).toContain('named the conversation "x␛[31m"')
  expect(JSON.parse(jsonLine({ written }))).toEqual({ written })
  expect(jsonLine({ written }).slice(0, -1)).not.toMatch(/\p{Cc}|[\u2028\u202e]/u)
})

test('what people write in their own languages stays as it is', () => {
  for (const text of ['Größe 5 °C', 'شبكة', '変電所', '👩‍🔧 fixed', 'क्‍ष']) expect(visible(text)).toBe(text)
})

test('a line has time, conversation, number, sender and text, and names nobody who did not write it', () => {
  expect(said({})).toBe('2026-11-21T10:00:00.000Z\tconv-0123456789abcdef01234567\t12\tann\tFeeder 3 is open\n')
  expect(lineText(messageLine(MESSAGE, true), SCREEN)).toBe(
    '\u001b[2m2026-11-21T10:00:00.000Z\u001b[0m  \u001b[2m12\u001b[0m \u001b[32mann\u001b[0m: Feeder 3 is open\n',
  )
  expect(lineText(messageLine(MESSAGE, true), { ...SCREEN, paint: paintWith(false) }, 'Night\u001b shift')).toBe(
    '2026-11-21T10:00:00.000Z  Night␛ shift  12 ann: Feeder 3 is open\n',
  )
  expect(said({ links: [{ url: 'https://plans.example/3', name: 'Plan' }] })).toContain(
    'Feeder 3 is open Plan <https://plans.example/3>\n',
  )
  expect(said({ content: 'look, @ben', mentions: ['ben', 'cem'] })).toContain('\tann\tlook, @ben @cem\n')
  expect(said({ content: '', kind: 'NOTICE', notice: { action: 'added', userIds: ['ben', 'cem'] } })).toContain(
    '\t*\tann added ben, cem\n',
  )
})

test('an edit that is news says so, one met first is the message, and what was deleted is told', () => {
  expect(said({ revision: 20, editedAt: CHANGED }, false)).toContain(
    `${CHANGED}\tconv-0123456789abcdef01234567\t12\t*\tann changed message 12: Feeder 3 is open\n`,
  )
  expect(said({ revision: 20, editedAt: CHANGED })).toContain('\tann\tFeeder 3 is open (edited)\n')
  expect(said({ content: '', revision: 21, deletedAt: CHANGED }, false)).toContain('\t*\tann: message 12 was deleted\n')
})

test('of statuses those of others are told', () => {
  const event = { ...MESSAGE, userId: 'ben', status: 'READ', timestamp: CHANGED }
  const line = statusLine(event, 'ann')
  expect(line === null ? null : lineText(line, PIPE)).toContain('\t12\t*\tben has read message 12\n')
  expect(statusLine({ ...event, status: 'DELIVERED' }, 'ann')?.what).toBe('ben has message 12')
  expect(statusLine({ ...event, status: 'SENT', userId: 'ann' }, 'ann')?.what).toBe('message 12 is sent')
  expect(statusLine(event, 'ben')).toBe(null)
})
