/** Conversations on WebSockets for tests: real services, database and bus, on one core or several, and devices of people. */

import { onTestFinished } from 'vitest'
import type { ApiOptions } from '../../cloud/api/api.ts'
import type { ChatServices } from '../../cloud/api/socket/chat/chat-desk.ts'
import type { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { Presence, Receipts, Rosters } from '../../cloud/chat/chat.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { type ApiCore, startApiCore } from './api-core.ts'
import { CHAT_SETTINGS, type ChatCore, chatCore } from './chat-core.ts'
import type { AnyJson } from './json-request.ts'
import { type LiveFrame, LiveTestClient } from './live-client.ts'
import { until } from './until.ts'

export const LIVE_CHAT_SETTINGS = {
  ...CHAT_SETTINGS,
  typingIntervalMs: 3_000,
  typingExpiryMs: 6_000,
  awayAfterMs: 300_000,
  offlineAfterMs: 15_000,
  refusalsMax: 200,
}

export interface LiveChatOptions {
  readonly settings?: Partial<typeof LIVE_CHAT_SETTINGS>
  /** In place of the real ones, of the sockets alone. */
  readonly services?: (services: ChatServices) => Partial<ChatServices>
  readonly api?: Partial<ApiOptions>
}

export interface LiveChatCore {
  readonly chat: ChatCore
  readonly api: ApiCore
}

let cores = 0

/** A core of its own over the database and the bus; it publishes. Stopped when the test ends. */
export async function liveChatCore(
  database: DatabaseHandle,
  url: string,
  bus: EmbeddedBus,
  { settings: given = {}, services = () => ({}), api = {} }: LiveChatOptions = {},
): Promise<LiveChatCore> {
  const settings = { ...LIVE_CHAT_SETTINGS, ...given }
  const chat = chatCore(database, { settings, bus })
  const coreId = `core-live-chat-${++cores}`
  const common = { ...chat, settings, coreId, clock: systemClock, random: systemRandom, log: silentLogger }
  const receipts = new Receipts(common)
  const presence = new Presence(common)
  const real: ChatServices = {
    messages: chat.messages,
    receipts,
    presence,
    rosters: new Rosters(common),
    bus,
    settings,
  }
  onTestFinished(async () => {
    for (const part of [presence, receipts]) await part.stop(AbortSignal.timeout(2_000))
  })
  await presence.start()
  await chat.relay.start()
  const core = await startApiCore({ bus, chat: { ...real, ...services(real) }, ...api }, url)
  return { chat, api: core }
}

/** One socket of somebody. */
export class Device {
  readonly userId: string
  readonly client: LiveTestClient
  private sent = 0

  private constructor(userId: string, client: LiveTestClient) {
    this.userId = userId
    this.client = client
  }

  /** Connected and subscribed, from `marks` on. */
  static async open(
    { api }: Pick<LiveChatCore, 'api'>,
    userId: string,
    marks: Readonly<Record<string, number>> = {},
    options: Parameters<typeof LiveTestClient.connect>[1] = {},
  ): Promise<Device> {
    const client = await LiveTestClient.connect(api.webSocketUrl, options)
    const device = new Device(userId, client)
    client.send({ type: 'subscribe', id: 'chat', channel: 'chat', filter: { userId } })
    await client.ask({ type: 'chat.resume', id: 'resume', marks }, 'chat.resumed')
    return device
  }

  /** Events of one kind, in the order in which they came. */
  events(event: string): AnyJson[] {
    return this.client.events.map(({ data }) => data).filter((data) => data.event === event)
  }

  /** What was said, in the order in which it came. */
  get heard(): string[] {
    return this.events('message').map(({ content }) => content)
  }

  async hears(count: number): Promise<string[]> {
    await until(() => this.heard.length >= count, { what: `${this.userId} hears ${count}: ${this.heard}` })
    return this.heard
  }

  /** Resolves with the answer, refusals included. */
  async ask(frame: { readonly type: string; readonly [member: string]: unknown }): Promise<LiveFrame> {
    const id = `f${++this.sent}`
    this.client.send({ ...frame, id })
    return await until(() => this.client.frames.find((got) => got.id === id), { what: `an answer to ${frame.type}` })
  }

  say(conversationId: string, content: string, changes: object = {}): Promise<LiveFrame> {
    const clientMessageId = `${this.userId}-${content}`.replaceAll(/[^A-Za-z0-9._:-]/g, '.').slice(0, 64)
    return this.ask({ type: 'chat.send', conversationId, clientMessageId, content, ...changes })
  }
}
