/**
 * Somebody in conversations, on one device: a real WebSocket, what it was sent in the order in which it came, and the way
 * back after the connection was lost, as the README tells clients to go it.
 */

import { WebSocket } from 'ws'
import type { AnyJson } from './json-request.ts'
import { until } from './until.ts'

export interface ReceivedMessage {
  readonly conversationId: string
  readonly messageId: string
  readonly senderId: string
  readonly content: string
  readonly position: number
  readonly revision: number
  readonly change: 'created' | 'edited' | 'deleted'
  readonly kind: 'MESSAGE' | 'NOTICE'
}

export interface ReceivedStatus {
  readonly conversationId: string
  readonly messageId: string
  readonly status: 'SENT' | 'DELIVERED' | 'READ'
  readonly userId: string
  readonly position: number
}

interface Unanswered {
  readonly frame: { readonly id: string; readonly [member: string]: unknown }
  readonly resolve: (answer: AnyJson) => void
}

export class ChatPerson {
  readonly userId: string
  /** Every message event, repeats included. */
  readonly messages: ReceivedMessage[] = []
  readonly statuses: ReceivedStatus[] = []
  /** Events of other kinds, by their `event`. */
  readonly others: AnyJson[] = []
  /** The highest revision seen, by conversation. */
  readonly marks = new Map<string, number>()
  private socket: WebSocket | null = null
  private readonly unanswered = new Map<string, Unanswered>()
  private asked = 0
  private isKnown = false

  constructor(userId: string) {
    this.userId = userId
  }

  get connected(): boolean {
    return this.socket?.readyState === WebSocket.OPEN
  }

  /** Connects, asks for what was missed, and sends again what was not answered. */
  async connect(apiUrl: string): Promise<void> {
    this.drop()
    const socket = new WebSocket(`${apiUrl.replace(/^http/, 'ws')}/api/v1/ws`)
    this.socket = socket
    socket.on('message', (text) => this.take(JSON.parse(String(text))))
    socket.on('error', () => undefined)
    await until(() => socket.readyState !== WebSocket.CONNECTING)
    if (!this.connected) throw new Error(`${this.userId} cannot connect to ${apiUrl}`)
    const subscribed = await this.ask({ type: 'subscribe', channel: 'chat', filter: { userId: this.userId } })
    const again = [...this.unanswered.values()]
    // The first time what was before is for whoever asks for it; later what is new is all of it missed.
    for (const [id, mark] of Object.entries(subscribed.marks as Record<string, number>)) {
      if (!this.marks.has(id)) this.marks.set(id, this.isKnown ? 0 : mark)
    }
    this.isKnown = true
    for (let more = [...this.marks.keys()]; more.length > 0; ) {
      const marks = Object.fromEntries(more.map((id) => [id, this.marks.get(id)]))
      more = (await this.ask({ type: 'chat.resume', marks })).more
    }
    for (const { frame } of again) socket.send(JSON.stringify(frame))
  }

  /** The connection is gone without a word. */
  drop(): void {
    this.socket?.removeAllListeners('message')
    this.socket?.terminate()
    this.socket = null
  }

  /** Resolves with the answer, also when it comes only after a reconnect; a refusal is one. */
  async say(
    conversationId: string,
    content: string,
    clientMessageId = `${this.userId}-${content.replaceAll(/[^A-Za-z0-9]/g, '.')}`,
  ): Promise<AnyJson> {
    return await this.ask({ type: 'chat.send', conversationId, content, clientMessageId })
  }

  async read(conversationId: string, position: number): Promise<AnyJson> {
    return await this.ask({ type: 'chat.read', conversationId, position })
  }

  /** Sends a frame under a new id and resolves with the frame that answers it. */
  async ask(frame: { readonly type: string; readonly [member: string]: unknown }): Promise<AnyJson> {
    const id = `${this.userId}-${this.asked++}`
    const whole = { ...frame, id }
    return await new Promise<AnyJson>((resolve) => {
      this.unanswered.set(id, { frame: whole, resolve })
      if (this.connected) this.socket?.send(JSON.stringify(whole))
    })
  }

  /** What was said in a conversation, in the order in which it came. */
  heard(conversationId: string): string[] {
    return this.messages
      .filter((message) => message.conversationId === conversationId && message.kind === 'MESSAGE')
      .map(({ content }) => content)
  }

  /** How far a message has come, as this person was told: the furthest, and never back. */
  toldOf(messageId: string): readonly string[] {
    return this.statuses.filter((status) => status.messageId === messageId).map(({ status }) => status)
  }

  private take(frame: AnyJson): void {
    if (frame.type === 'event' && frame.channel === 'chat') {
      const { event, ...data } = frame.data
      if (event === 'message') {
        this.messages.push(data)
        const { conversationId, revision } = data as ReceivedMessage
        this.marks.set(conversationId, Math.max(this.marks.get(conversationId) ?? 0, revision))
      } else if (event === 'status') this.statuses.push(data)
      else this.others.push({ event, ...data })
      return
    }
    const asked = this.unanswered.get(frame.id)
    if (asked === undefined) return
    this.unanswered.delete(frame.id)
    asked.resolve(frame)
  }
}
