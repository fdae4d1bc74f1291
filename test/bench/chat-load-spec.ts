/** What the load generator of conversations is told, and what it says. */

import type { LatencySummary } from '../support/latency-histogram.ts'

export interface ChatLoadSpec {
  /** Of the WebSocket, such as ws://127.0.0.1:8080/api/v1/ws. */
  readonly url: string
  /** Process whose CPU is counted. */
  readonly pid: number
  /** One socket each. */
  readonly userIds: readonly string[]
  /** Ids, and who is in each: indexes of `userIds`. Messages go to them in turn, from their members in turn. */
  readonly conversations: readonly { readonly id: string; readonly members: readonly number[] }[]
  /** Messages a second of the first step; each further one has `growth` times as many. */
  readonly ratePerSecond: number
  readonly growth: number
  /** Of each step, before it counts and while it does. */
  readonly warmUpMs: number
  readonly measureMs: number
  /** The rate is too high, and the load ends, when one in a hundred messages takes longer. */
  readonly p99MsMax: number
}

export interface ChatStep {
  readonly type: 'step'
  readonly ratePerSecond: number
  /** Arrivals at other sockets than the sender's. */
  readonly deliveriesPerSecond: number
  /** Arrivals that there are when all keep up. */
  readonly expectedPerSecond: number
  readonly latency: LatencySummary
  /** Share of one core. */
  readonly serverCpu: number
  readonly clientCpu: number
  readonly serverCpuUsPerDelivery: number
  readonly keptUp: boolean
}

/** An event as it came, and where in it the content is. */
export interface ChatSample {
  readonly type: 'sample'
  readonly before: string
  readonly content: string
  readonly after: string
}

export type ChatLoadLine = ChatStep | ChatSample

/** What the bare broadcast is told. */
export interface ChatBroadcastSpec {
  readonly port: number
  /** Ids of conversations by the user who is in them. */
  readonly conversationsOf: Readonly<Record<string, readonly string[]>>
  readonly sample: ChatSample
}
