/** An inbox with its real thread and file, a spool in memory, and a route whose other side is the test. */

import { onTestFinished } from 'vitest'
import type { CommandOutlet, CommandRoute, CommandRouteEvents } from '../../../../edge/broker/command-outlet.ts'
import { CommandInbox, type CommandInboxOptions } from '../../../../edge/commands/inbox.ts'
import type { Command } from '../../../../proto/generated/busbar/edge/v1/uplink.ts'
import { type CommandFact, parseCommandFact } from '../../../../shared/command-fact.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { ManualClock } from '../../../support/manual-clock.ts'
import { seededRandom } from '../../../support/seeded-random.ts'
import { MemoryLog } from '../../broker/support/memory-log.ts'

export const DEVICE = { siteId: 1, serialNumber: 'METER-1' }
/** The cloud's wall clock when the monotonic clock is 0. */
export const CLOUD_MS = Date.UTC(2026, 5, 1)
const BOOT = { id: 'boot-1', monotonicBaseMs: 0 }

export function command(commandId: string, overrides: Partial<Command> = {}): Command {
  return {
    commandId,
    taskId: '',
    ...DEVICE,
    name: 'REBOOT',
    paramsJson: '',
    issuedAtMs: CLOUD_MS,
    expiresAtMs: CLOUD_MS + 3_600_000,
    timeoutMs: 60_000,
    ...overrides,
  }
}

/** What went over a route, as `publish 1 c1`, `again 1 c1` with DUP, `release 1`. */
export class TestRoute implements CommandRoute {
  readonly clientId = 'METER-1'
  readonly durable: boolean
  readonly session: string
  readonly qos: 0 | 1 | 2
  readonly frames: string[] = []
  readonly payloads: string[] = []
  isGone = false
  private nextId = 1

  constructor(options: { durable?: boolean; session?: string; qos?: 0 | 1 | 2 } = {}) {
    this.durable = options.durable ?? true
    this.session = options.session ?? 'session-1'
    this.qos = options.qos ?? 2
  }

  newPacketId(): number {
    return this.nextId++
  }

  publish(packetId: number, payload: Uint8Array, dup: boolean): boolean {
    if (this.isGone) return false
    const text = Buffer.from(payload).toString()
    this.payloads.push(text)
    this.frames.push(`${dup ? 'again' : 'publish'} ${packetId} ${JSON.parse(text).commandId}`)
    return true
  }

  release(packetId: number): void {
    this.frames.push(`release ${packetId}`)
  }
}

export class TestOutlet implements CommandOutlet {
  events!: CommandRouteEvents
  readonly shown: string[] = []

  listen(events: CommandRouteEvents): void {
    this.events = events
  }

  show(_device: unknown, payload: Uint8Array): void {
    this.shown.push(Buffer.from(payload).toString())
  }
}

export interface TestInbox {
  readonly inbox: CommandInbox
  readonly outlet: TestOutlet
  readonly spool: MemoryLog
  readonly clock: ManualClock
  /** Opens a route of DEVICE. */
  open(options?: ConstructorParameters<typeof TestRoute>[0]): TestRoute
  answer(commandId: string, status?: string): void
  /** The facts in the spool, as `c1 DELIVERED`. */
  facts(): string[]
  factsInFull(): CommandFact[]
  stop(): Promise<void>
}

export async function startInbox(dir: string, overrides: Partial<CommandInboxOptions> = {}): Promise<TestInbox> {
  const outlet = new TestOutlet()
  const spool = (overrides.spool as MemoryLog | undefined) ?? new MemoryLog()
  const clock = (overrides.clock as ManualClock | undefined) ?? new ManualClock()
  const inbox = new CommandInbox({
    dir,
    outlet,
    inboxMax: 1000,
    keptDays: 30,
    boot: BOOT,
    random: seededRandom(1),
    log: silentLogger,
    ...overrides,
    spool,
    clock,
  })
  const stop = () => inbox.stop(AbortSignal.timeout(5000))
  onTestFinished(stop)
  await inbox.start()
  const factsInFull = () =>
    spool.records.flatMap(({ payload }) => {
      const fact = parseCommandFact(payload)
      return fact === null ? [] : [fact]
    })
  return {
    inbox,
    outlet,
    spool,
    clock,
    open(options) {
      const route = new TestRoute(options)
      outlet.events.opened(DEVICE, route)
      return route
    },
    answer(commandId, status = 'SUCCESS') {
      outlet.events.answered(DEVICE, Buffer.from(JSON.stringify({ commandId, status })))
    },
    facts: () => factsInFull().map(({ commandId, state }) => `${commandId} ${state}`),
    factsInFull,
    stop,
  }
}
