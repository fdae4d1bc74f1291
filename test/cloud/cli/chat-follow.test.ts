import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { ChatFollow } from '../../../cloud/cli/chat-follow.ts'
import { type LiveFrame, LiveSocket } from '../../../cloud/cli/live-socket.ts'
import { type Clock, systemClock } from '../../../shared/clock.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { seededRandom } from '../../support/seeded-random.ts'
import { until } from '../../support/until.ts'

interface Message {
  readonly position: number
  readonly revision: number
  readonly content: string
}

const ID = 'conv-0123456789abcdef01234567'
/** Waits a hundredth of what is asked for, and hears a silence for so much sooner. */
const hasty: Clock = {
  ...systemClock,
  after: (delayMs, fn) => systemClock.after(delayMs / 100, fn),
  every: (periodMs, fn) => systemClock.every(periodMs / 100, fn),
}

/** What a core keeps and sends of one conversation, as far as one who follows it can see. */
class FakeCore {
  readonly messages: Message[] = []
  revision = 0
  readPosition = 0
  /** Frames that it was sent. */
  readonly frames: LiveFrame[] = []
  /** Ends the connection after so many events of a catch-up. */
  breakAfter = Number.POSITIVE_INFINITY
  /** Catches up so many at most, and says that there are more. */
  pageMax = Number.POSITIVE_INFINITY
  refusal: Record<string, unknown> | null = null
  connections = 0
  private readonly sockets = new Set<Bun.ServerWebSocket<undefined>>()
  private readonly server = Bun.serve({
    port: 0,
    fetch: (request, server) => (server.upgrade(request) ? undefined : new Response('', { status: 400 })),
    websocket: {
      open: () => {
        this.connections++
      },
      message: (socket, text) => this.take(socket, JSON.parse(String(text)) as LiveFrame),
      close: (socket) => void this.sockets.delete(socket),
    },
  })

  constructor() {
    onTestFinished(() => void this.server.stop(true))
  }

  get origin(): string {
    return `http://127.0.0.1:${this.server.port}`
  }

  say(content: string): void {
    const position = ++this.revision
    this.put({ position, revision: position, content })
  }

  edit(position: number, content: string): void {
    this.messages.splice(0, this.messages.length, ...this.messages.filter((each) => each.position !== position))
    this.put({ position, revision: ++this.revision, content })
  }

  repeat(): void {
    for (const message of this.messages) this.send(message)
  }

  remove(): void {
    const data = { event: 'conversation', conversationId: ID, change: 'left', revision: this.revision }
    for (const socket of this.sockets) socket.send(JSON.stringify({ type: 'event', channel: 'chat', data }))
  }

  /** Without a word. */
  cut(): void {
    for (const socket of this.sockets) socket.terminate()
  }

  private put(message: Message): void {
    this.messages.push(message)
    this.messages.sort((a, b) => a.position - b.position)
    this.send(message)
  }

  private send(message: Message): void {
    for (const socket of this.sockets) socket.send(eventOf(message))
  }

  private take(socket: Bun.ServerWebSocket<undefined>, frame: LiveFrame): void {
    this.frames.push(frame)
    const { type, id } = frame
    if (this.refusal !== null) return void socket.send(JSON.stringify({ type: 'error', id, ...this.refusal }))
    if (type === 'subscribe') {
      this.sockets.add(socket)
      socket.send(JSON.stringify({ type: 'subscribed', id }))
      return
    }
    const mark = (frame['marks'] as Record<string, number>)[ID] ?? 0
    const missed = this.messages.filter(({ revision }) => revision > mark)
    for (const message of missed.slice(0, this.pageMax)) {
      if (this.breakAfter-- === 0) {
        socket.terminate()
        return
      }
      socket.send(eventOf(message))
    }
    socket.send(JSON.stringify({ type: 'chat.resumed', id, more: missed.length > this.pageMax ? [ID] : [] }))
  }
}

function eventOf(message: Message): string {
  const data = { event: 'message', conversationId: ID, senderId: 'ben', kind: 'MESSAGE', ...message }
  return JSON.stringify({ type: 'event', channel: 'chat', data })
}

function follow(core: FakeCore, clock: Clock = hasty, conversationId?: string) {
  const stop = new AbortController()
  const told: string[] = []
  const connected: boolean[] = []
  const ended = new ChatFollow({
    ...{ userId: 'ann', conversationId },
    conversations: () =>
      Promise.resolve([{ conversationId: ID, lastRevision: core.revision, readPosition: core.readPosition }]),
    open: (onFrame) => LiveSocket.open({ origin: core.origin, clock, onFrame }),
    onMessage: ({ content }, isFirst) => told.push(isFirst ? content : `changed to ${content}`),
    onStatus: ({ status, userId }) => told.push(`${userId} ${status}`),
    onConnected: (isConnected) => connected.push(isConnected),
    clock,
    random: seededRandom(7),
    signal: stop.signal,
  }).run()
  // Whoever awaits it sees it too.
  ended.catch(() => undefined)
  onTestFinished(async () => {
    stop.abort()
    await ended.catch(() => undefined)
  })
  return {
    told,
    connected,
    stop,
    ended,
    resumed: () => core.frames.filter(({ type }) => type === 'chat.resume').length,
  }
}

test('what is said from the beginning on is told once, whatever comes twice', async () => {
  const core = new FakeCore()
  core.say('before')
  const { told, resumed, stop, ended } = follow(core)
  await until(() => resumed() === 1)
  core.say('one')
  core.say('two')
  core.repeat()
  core.edit(2, 'one, corrected')
  await until(() => told.length === 3)
  core.repeat()
  core.say('three')
  await until(() => told.includes('three'))
  expect(told).toEqual(['one', 'two', 'changed to one, corrected', 'three'])
  stop.abort()
  await ended
})

test('after a lost connection the rest comes, in order, nothing twice and nothing missing', async () => {
  const core = new FakeCore()
  core.say('before')
  const { told, connected, resumed } = follow(core)
  await until(() => resumed() === 1)
  core.say('one')
  await until(() => told.length === 1)
  core.cut()
  for (const content of ['two', 'three', 'four', 'five']) core.say(content)
  core.edit(3, 'two, corrected')
  // Lost again in the middle of it, after a message whose last change is newer than what is still to come.
  core.breakAfter = 2
  core.pageMax = 2
  await until(() => told.length >= 5)
  core.say('six')
  await until(() => told.includes('six'))
  expect(told).toEqual(['one', 'two, corrected', 'three', 'four', 'five', 'six'])
  expect(connected).toEqual([false, true])
  expect(core.connections).toBe(3)
})

test('who is in a conversation no more follows it no further, and everything else as before', async () => {
  const core = new FakeCore()
  const [one, all] = [follow(core, hasty, ID), follow(core)]
  await until(() => core.frames.filter(({ type }) => type === 'chat.resume').length === 2)
  core.remove()
  await expect(one.ended).rejects.toMatchObject({ code: 'CONVERSATION_LEFT' })
  core.say('to those who are left')
  await until(() => all.told.length === 1)
  expect(one).toMatchObject({ told: [], connected: [] })
})

test('a connection on which nothing comes any more, not even an answer to a ping, is over', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', (request) => {
      const key = /sec-websocket-key: (.*)/i.exec(String(request))?.[1]?.trim() ?? ''
      const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n' +
          `sec-websocket-accept: ${accept}\r\n\r\n`,
      )
    })
  })
  server.listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const live = await LiveSocket.open({ origin, clock: hasty, onFrame: () => undefined })
  await expect(live.ask({ type: 'ping' })).rejects.toMatchObject({ code: 'LIVE_LOST' })
  expect(await live.closed).toMatchObject({ code: 1006 })
})

test('who is refused is told so; what cannot begin does not go on trying', async () => {
  const core = new FakeCore()
  core.refusal = { code: 'ROLE_MISSING', message: 'the role is missing', hint: 'An administrator gives it.' }
  await expect(follow(core).ended).rejects.toMatchObject({ code: 'ROLE_MISSING', hint: 'An administrator gives it.' })
  const nowhere = new ChatFollow({
    userId: 'ann',
    conversations: () => Promise.resolve([]),
    open: (onFrame) => LiveSocket.open({ origin: 'http://127.0.0.1:1', clock: hasty, onFrame }),
    onMessage: () => undefined,
    onStatus: () => undefined,
    onConnected: () => undefined,
    clock: hasty,
    random: seededRandom(7),
    signal: new AbortController().signal,
  })
  await expect(nowhere.run()).rejects.toMatchObject({ code: 'LIVE_UNREACHABLE' })
})

test('who loses the right to look while following ends with the reason', async () => {
  const core = new FakeCore()
  const { resumed, ended } = follow(core)
  await until(() => resumed() === 1)
  core.refusal = { code: 'FORBIDDEN', message: 'no more', hint: 'Ask.' }
  core.cut()
  await expect(ended).rejects.toBeInstanceOf(BusbarError)
})
