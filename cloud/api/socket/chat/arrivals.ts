/**
 * What a socket was sent and whether it has come: behind the frames goes a WebSocket ping, which every client answers by itself,
 * in order [RFC 6455 5.5.2]. So its pong says that everything before it has come. Pure.
 */

import { PINGS_MAX, UNPINGED_MAX } from './chat-limits.ts'

export interface Arriving {
  readonly conversationId: string
  readonly position: number
}

/** Bun's own pings carry nothing. */
const PAYLOAD = /^c([1-9][0-9]{0,14})$/

export class Arrivals<A extends Arriving = Arriving> {
  private unpinged: A[] = []
  /** In the order in which they were sent. */
  private readonly pinged: { readonly number: number; readonly sent: readonly A[] }[] = []
  private pings = 0

  sent(arriving: A): void {
    this.unpinged.push(arriving)
    if (this.unpinged.length > UNPINGED_MAX) this.unpinged = lastOfEach(this.unpinged)
  }

  /** @param send false when it was not sent; it is tried again with what comes next. */
  ping(send: (payload: string) => boolean): void {
    if (this.unpinged.length === 0 || this.pinged.length >= PINGS_MAX) return
    const number = this.pings + 1
    if (!send(`c${number}`)) return
    this.pings = number
    this.pinged.push({ number, sent: this.unpinged })
    this.unpinged = []
  }

  /** @returns what has come by it; nothing for a pong that was not asked for. */
  pong(payload: string): A[] {
    const match = PAYLOAD.exec(payload)
    const number = match === null ? 0 : Number(match[1])
    // A client may answer the last of several pings alone [RFC 6455 5.5.3].
    const upTo = this.pinged.findLastIndex((each) => each.number === number)
    return this.pinged.splice(0, upTo + 1).flatMap(({ sent }) => sent)
  }
}

/** A mark of a conversation says the same of everything before. */
function lastOfEach<A extends Arriving>(arriving: readonly A[]): A[] {
  const last = new Map<string, A>()
  for (const each of arriving) {
    const known = last.get(each.conversationId)
    if (known === undefined || known.position < each.position) last.set(each.conversationId, each)
  }
  return [...last.values()]
}
