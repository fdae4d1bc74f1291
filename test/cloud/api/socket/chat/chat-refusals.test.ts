/** What clients may not ask of conversations, all of it answered by the id of the frame; and what ends a socket. */

import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { openDatabase } from '../../../../../cloud/database/database.ts'
import { systemClock } from '../../../../../shared/clock.ts'
import { BusbarError } from '../../../../../shared/errors.ts'
import { silentLogger } from '../../../../../shared/log.ts'
import { startApiCore } from '../../../../support/api-core.ts'
import { Device, type LiveChatCore, type LiveChatOptions, liveChatCore } from '../../../../support/live-chat.ts'
import { LiveTestClient } from '../../../../support/live-client.ts'
import { embeddedBus } from '../../../../support/outbox-relay.ts'
import { tempDir } from '../../../../support/temp-dir.ts'
import { TestLogins } from '../../../../support/test-logins.ts'
import { until } from '../../../../support/until.ts'

const NONE = `conv-${'0'.repeat(24)}`
const viewer = [{ role: 'viewer', siteId: 1 }] as const

async function start(options: LiveChatOptions = {}): Promise<LiveChatCore> {
  const url = `sqlite:${join(await tempDir(), 'busbar.db')}`
  const database = openDatabase({ url, clock: systemClock, log: silentLogger })
  await database.start()
  onTestFinished(() => database.stop())
  return await liveChatCore(database, url, await embeddedBus(), options)
}

test('bad input of every kind is answered with what is wrong where, and the socket goes on', async () => {
  const core = await start()
  const id = await core.chat.conversation(['ann', 'bob'])
  const archived = await core.chat.conversation(['ann', 'bob'])
  await core.chat.archive(archived)
  const ann = await Device.open(core, 'ann')
  const send = { type: 'chat.send', conversationId: id, clientMessageId: 'x', content: 'x' }
  const refusals: [object, string, string | null][] = [
    [{ ...send, content: '' }, 'INVALID_INPUT', '/content'],
    [{ ...send, content: ' \u200b\n' }, 'INVALID_INPUT', '/content'],
    [{ ...send, content: 'x'.repeat(4_001) }, 'INVALID_INPUT', '/content'],
    [{ ...send, content: 'x'.repeat(100_000) }, 'FRAME_TOO_LARGE', null],
    [{ ...send, content: 'nul \0' }, 'INVALID_INPUT', '/content'],
    [{ ...send, content: 7 }, 'FRAME_INVALID', '/content'],
    [{ ...send, content: undefined }, 'FRAME_INVALID', '/content'],
    [{ ...send, html: '<b>x</b>' }, 'FRAME_INVALID', '/html'],
    [{ ...send, links: [{ url: 'javascript:alert(1)' }] }, 'INVALID_INPUT', '/links/0/url'],
    [{ ...send, mentions: ['eve'] }, 'INVALID_INPUT', '/mentions/0'],
    [{ ...send, clientMessageId: 'a b' }, 'FRAME_INVALID', '/clientMessageId'],
    [{ ...send, conversationId: "conv-' or 1=1" }, 'FRAME_INVALID', '/conversationId'],
    [{ ...send, conversationId: NONE }, 'CONVERSATION_UNKNOWN', null],
    [{ ...send, conversationId: archived }, 'CONVERSATION_ARCHIVED', null],
    [{ ...send, userId: 'eve' }, 'CONVERSATION_UNKNOWN', null],
    [{ type: 'chat.read', conversationId: id, position: -1 }, 'FRAME_INVALID', '/position'],
    [{ type: 'chat.read', conversationId: id, position: 1e300 }, 'FRAME_INVALID', '/position'],
    [{ type: 'chat.read', conversationId: NONE, position: 1 }, 'CONVERSATION_UNKNOWN', null],
    [{ type: 'chat.typing', conversationId: NONE, isTyping: true }, 'CONVERSATION_UNKNOWN', null],
    [{ type: 'chat.typing', conversationId: id, isTyping: 'yes' }, 'FRAME_INVALID', '/isTyping'],
    [{ type: 'chat.resume', marks: { ann: 1 } }, 'FRAME_INVALID', '/marks/ann'],
    [{ type: 'chat.resume', marks: { [id]: 1.5 } }, 'FRAME_INVALID', `/marks/${id}`],
    [{ type: 'chat.resume', marks: [] }, 'FRAME_INVALID', '/marks'],
    [{ type: 'chat.state', state: 'asleep' }, 'FRAME_INVALID', '/state'],
    [{ type: 'chat.shout' }, 'FRAME_INVALID', null],
    [{ type: 'subscribe', channel: 'chat', filter: { userId: 'bob' } }, 'CHAT_USER_FIXED', null],
    [{ type: 'subscribe', channel: 'chat' }, 'FRAME_INVALID', null],
  ]
  for (const [frame, code, pointer] of refusals) {
    const refused = await ann.ask(frame as { type: string })
    expect(refused, JSON.stringify(frame).slice(0, 200)).toMatchObject({ type: 'error', code })
    expect(refused.message).toBeTruthy()
    expect(refused.hint).toBeTruthy()
    if (pointer !== null) expect(refused.fields.map((field: { pointer: string }) => field.pointer)).toContain(pointer)
  }
  for (const text of ['nonsense', '[]', 'null', '"chat.send"', '{"type":{}}', '{"__proto__":{"type":"ping"}}']) {
    const seen = ann.client.frames.length
    ann.client.send(text)
    await until(() => ann.client.frames[seen]?.code === 'FRAME_INVALID')
  }
  expect(await ann.say(id, 'still here')).toMatchObject({ type: 'chat.sent', position: 1 })
  await ann.ask({ type: 'chat.state', state: 'away' })
  expect(await ann.say(id, 'another text', { clientMessageId: 'ann-still.here' })).toMatchObject({
    code: 'MESSAGE_ID_REUSED',
  })
  expect(ann.client.closeCode).toBeNull()
  await until(() => ann.heard.length > 0)
  expect(ann.heard).toEqual(['still here'])
})

test('a flood is answered with the time to wait; who goes on and on is cut, and nobody else is', async () => {
  const core = await start({ settings: { messagesPerMinute: 60, messagesBurst: 3, refusalsMax: 20 } })
  const id = await core.chat.conversation(['ann', 'bob'])
  const [ann, bob] = [await Device.open(core, 'ann'), await Device.open(core, 'bob')]
  const flood = await Promise.all(Array.from({ length: 10 }, (_, i) => ann.say(id, `m${i}`)))
  expect(flood.filter(({ type }) => type === 'chat.sent')).toHaveLength(3)
  const refused = flood.filter(({ code }) => code === 'RATE_LIMITED')
  expect(refused).toHaveLength(7)
  for (const { retryAfterMs, hint } of refused) {
    expect(retryAfterMs).toBeGreaterThan(0)
    expect(retryAfterMs).toBeLessThanOrEqual(1_000)
    expect(hint).toBeTruthy()
  }
  // Frames that are no messages have a limit as well.
  const many = await Promise.all(
    Array.from({ length: 70 }, () => bob.ask({ type: 'chat.read', conversationId: id, position: 1 })),
  )
  const limited = many.filter(({ code }) => code === 'RATE_LIMITED')
  expect(limited.length).toBeGreaterThan(0)
  expect(limited[0]?.retryAfterMs).toBeGreaterThan(0)
  expect(ann.client.closeCode).toBeNull()
  for (let i = 0; i < 30; i++) ann.client.send({ type: 'chat.send', id: 'x' })
  await until(() => ann.client.closeCode !== null)
  expect(ann.client.closeCode).toBe(1008)
  expect(bob.client.closeCode).toBeNull()
  const metrics = await core.api.metrics.metrics()
  expect(metrics).toContain('busbar_api_clients_cut_total{reason="abuse"} 1')
  expect(metrics).toMatch(/busbar_chat_refused_frames_total\{code="RATE_LIMITED"\} [1-9]/)
  expect(metrics).toMatch(/busbar_chat_sockets 1$/m)
})

test('who tries again and again while the database is away is not cut for it', async () => {
  const refusalsMax = 10
  const core = await start({
    settings: { refusalsMax },
    services: ({ messages }) => ({
      messages: Object.assign(Object.create(messages) as typeof messages, {
        send: async () => {
          throw new BusbarError('away', { code: 'DATABASE_UNAVAILABLE', retryable: true })
        },
      }),
    }),
  })
  const id = await core.chat.conversation(['ann', 'bob'])
  const ann = await Device.open(core, 'ann')
  const answers = []
  for (let i = 0; i <= 2 * refusalsMax; i++) answers.push(await ann.say(id, 'are you there?'))
  expect(answers.every(({ code, retryAfterMs }) => code === 'DATABASE_UNAVAILABLE' && retryAfterMs > 0)).toBe(true)
  expect(ann.client.closeCode).toBeNull()
})

test('each is who is logged in, with the scopes of its key; nobody follows or speaks for another one', async () => {
  const logins = new TestLogins()
  const key = 'api-key:1'
  const core = await start({ api: { authentication: logins, recheckMs: 20 } })
  const id = await core.chat.conversation(['ann', 'bob', key])
  const token = logins.add('ann', viewer)
  const ann = await Device.open(core, 'ann', {}, { token })
  const bob = await LiveTestClient.connect(core.api.webSocketUrl, { token: logins.add('bob', viewer) })
  const refused = await bob.ask({ type: 'subscribe', id: 's', channel: 'chat', filter: { userId: 'ann' } }, 'error')
  expect(refused).toMatchObject({ code: 'FORBIDDEN' })
  const frame = { type: 'chat.send', id: 'a', conversationId: id, clientMessageId: 'a', content: 'a' }
  expect(await bob.ask({ ...frame, userId: 'ann' }, 'error')).toMatchObject({ id: 'a', code: 'FORBIDDEN' })
  // Without a subscription one can speak, and hears nothing.
  await bob.ask(frame, 'chat.sent')
  expect(await bob.ask({ type: 'chat.resume', id: 'r', marks: {} }, 'error')).toMatchObject({
    code: 'CHAT_NOT_SUBSCRIBED',
  })
  expect(await ann.hears(1)).toEqual(['a'])
  expect(bob.events).toEqual([])

  const reader = await Device.open(core, key, {}, { token: logins.add(key, viewer, ['chat:read']) })
  expect(await reader.say(id, 'b')).toMatchObject({ code: 'SCOPE_MISSING' })
  const writer = await LiveTestClient.connect(core.api.webSocketUrl, {
    token: logins.add('api-key:2', viewer, ['chat:write']),
  })
  expect(
    await writer.ask({ type: 'subscribe', id: 's', channel: 'chat', filter: { userId: 'api-key:2' } }, 'error'),
  ).toMatchObject({ code: 'SCOPE_MISSING' })
  expect(await writer.ask({ ...frame, id: 'w' }, 'error')).toMatchObject({ id: 'w', code: 'CONVERSATION_UNKNOWN' })

  // A role that is taken ends it, on the open socket.
  logins.add('ann', [])
  await until(() => ann.client.frames.some(({ type }) => type === 'ended'))
  expect(await ann.say(id, 'c')).toMatchObject({ type: 'error', code: 'ROLE_MISSING' })
  await bob.ask({ ...frame, id: 'd', clientMessageId: 'd', content: 'd' }, 'chat.sent')
  await until(() => reader.heard.includes('d'))
  expect(ann.heard).toEqual(['a'])
  logins.end(token)
  await until(() => ann.client.closeCode === 4401)
})

test('where nobody logs in a frame says who, or the subscription does; a core without conversations says so', async () => {
  const core = await start()
  const id = await core.chat.conversation(['ann', 'bob'])
  const client = await LiveTestClient.connect(core.api.webSocketUrl)
  const frame = { type: 'chat.send', id: 'a', conversationId: id, clientMessageId: 'a', content: 'a' }
  const refused = await client.ask(frame, 'error')
  expect(refused).toMatchObject({ code: 'INVALID_INPUT', fields: [{ pointer: '/userId' }] })
  await client.ask({ ...frame, id: 'b', userId: 'bob' }, 'chat.sent')
  await client.ask({ type: 'subscribe', id: 's', channel: 'chat', filter: { userId: 'ann' } }, 'subscribed')
  await client.ask({ type: 'subscribe', id: 't', channel: 'chat', filter: { userId: 'ann' } }, 'subscribed')
  await client.ask({ ...frame, id: 'c' }, 'chat.sent')
  await client.ask({ type: 'unsubscribe', id: 's' }, 'unsubscribed')
  await until(() => client.events.some(({ data }) => data.senderId === 'ann'))
  await client.ask({ type: 'unsubscribe', id: 't' }, 'unsubscribed')
  expect(core.api.api.chatStats()).toMatchObject({ sockets: 0, users: 0 })

  const plain = await startApiCore()
  const other = await LiveTestClient.connect(plain.webSocketUrl)
  expect(await other.ask(frame, 'error')).toMatchObject({ id: 'a', code: 'CHAT_UNAVAILABLE' })
  expect(
    await other.ask({ type: 'subscribe', id: 's', channel: 'chat', filter: { userId: 'ann' } }, 'error'),
  ).toMatchObject({ id: 's', code: 'CHAT_UNAVAILABLE' })
})

test('what came right behind a subscription that cannot be had is answered as well', async () => {
  const core = await start({
    services: ({ messages }) => ({
      messages: {
        send: (senderId, message) => messages.send(senderId, message),
        since: (...of) => messages.since(...of),
        lastRevisions: (...of) => messages.lastRevisions(...of),
        marksOf: () => Promise.reject(new Error('the database is away')),
      },
    }),
  })
  const client = await LiveTestClient.connect(core.api.webSocketUrl)
  client.send({ type: 'subscribe', id: 's', channel: 'chat', filter: { userId: 'ann' } })
  const resumed = await client.ask({ type: 'chat.resume', id: 'r', marks: {} }, 'error')
  expect(resumed).toMatchObject({ id: 'r', code: 'CHAT_NOT_SUBSCRIBED' })
  await until(() => client.frames.some(({ id, type }) => id === 's' && type === 'error'))
  expect(core.api.api.chatStats()).toMatchObject({ sockets: 0, users: 0, refused: { CHAT_NOT_SUBSCRIBED: 1 } })
})
