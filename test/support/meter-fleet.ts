/**
 * Many simulated meters in one process, behind data concentrators: one connection carries the commands and answers of a
 * hundred of them. The broker must let anonymous clients in (mqtt.insecure on loopback), since one connection speaks for
 * many devices.
 *
 * It keeps what a test needs to know at the end: which device executed which command how often, and what it answered. It
 * drops no repeats by itself, so a command that was handed over twice shows.
 */

import { systemClock as clock, type Timer } from '../../shared/clock.ts'
import { deviceTopic, parseDeviceTopic } from '../../shared/mqtt-topics.ts'
import {
  type BehaviourOptions,
  type CommandAnswer,
  type CommandMessage,
  type DeviceMemory,
  newMemory,
  react,
} from '../simulation/command-behaviour.ts'
import { gridOf } from '../simulation/grid.ts'
import { meterOf } from '../simulation/meter.ts'
import type { Reading } from '../simulation/substation.ts'
import { weatherOf } from '../simulation/weather.ts'
import { MqttPeer } from './mqtt-peer.ts'

export interface MeterFleetOptions {
  readonly host?: string
  readonly port: number
  readonly siteId: number
  readonly serialNumbers: readonly string[]
  /** Of the concentrators' client ids; two fleets on one broker need two. Default `concentrator`. */
  readonly name?: string
  /** Meters of one connection; default 100. */
  readonly perConnection?: number
  /** Whether the sessions outlive their connections (clean=false); default true. */
  readonly durable?: boolean
  readonly behaviour: BehaviourOptions
  readonly reconnectMs?: number
  /** Called for every execution, before the answer is under way. */
  readonly onExecuted?: (serialNumber: string, command: CommandMessage) => void
}

/** What became of one command at its meter. */
export interface Execution {
  readonly serialNumber: string
  readonly command: CommandMessage
  /** More than once is what must never happen. */
  times: number
  /** Wall clock, Unix milliseconds. */
  readonly atMs: number
  /** Of the last answer; null while there is none. */
  status: CommandAnswer['status'] | null
}

interface Meter {
  readonly serialNumber: string
  readonly answerTopic: string
  readonly concentrator: MqttPeer
  readonly position: number
  memory: DeviceMemory
  /** Made when somebody asks for its registers first. */
  read: ((timeMs: number) => Reading) | null
}

const PER_CONNECTION = 100
const KEEP_ALIVE_SECONDS = 30

export class MeterFleet {
  readonly executions = new Map<string, Execution>()
  private readonly options: MeterFleetOptions
  private readonly concentrators: MqttPeer[] = []
  private readonly meters = new Map<string, Meter>()
  private readonly answers = new Set<Timer>()

  constructor(options: MeterFleetOptions) {
    this.options = options
    const { serialNumbers, perConnection = PER_CONNECTION } = options
    for (let first = 0; first < serialNumbers.length; first += perConnection) {
      this.addConcentrator(serialNumbers.slice(first, first + perConnection))
    }
  }

  /** Resolves when every meter is subscribed to its commands. */
  async start(): Promise<void> {
    await Promise.all(this.concentrators.map((each) => each.start()))
  }

  /** One reading of each meter, by which gateway and cloud learn of it; resolves when the broker has them all on disk. */
  async announce(): Promise<void> {
    const { siteId } = this.options
    const published = [...this.meters.values()].map((meter) => {
      const reading = JSON.stringify(this.readingOf(meter))
      return new Promise<void>((resolve) => {
        meter.concentrator.publish(deviceTopic(siteId, meter.serialNumber, 'telemetry'), reading, 1, resolve)
      })
    })
    await Promise.all(published)
  }

  /** Cuts every connection, or those of the first concentrators only, without a goodbye; `start` brings them back. */
  drop(concentrators = this.concentrators.length): void {
    for (const each of this.concentrators.slice(0, concentrators)) each.drop()
  }

  async stop(): Promise<void> {
    for (const timer of this.answers) timer.cancel()
    this.answers.clear()
    await Promise.all(this.concentrators.map((each) => each.stop()))
  }

  get connected(): boolean {
    return this.concentrators.every(({ ready }) => ready)
  }

  get reconnects(): number {
    return this.concentrators.reduce((sum, { reconnects }) => sum + reconnects, 0)
  }

  /** Answers that are not on the broker's disk yet: being thought about, or on the way. */
  get unanswered(): number {
    return this.concentrators.reduce((sum, { unconfirmed }) => sum + unconfirmed, this.answers.size)
  }

  /** Ids of commands that were executed more than once. */
  executedTwice(): string[] {
    return [...this.executions.values()].filter(({ times }) => times > 1).map(({ command }) => command.commandId)
  }

  /** Commands executed by each meter that executed any, repeats included. */
  executionsByDevice(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { serialNumber, times } of this.executions.values()) {
      counts.set(serialNumber, (counts.get(serialNumber) ?? 0) + times)
    }
    return counts
  }

  private addConcentrator(serialNumbers: readonly string[]): void {
    const { host, port, siteId, name = 'concentrator', durable = true, behaviour, reconnectMs } = this.options
    const concentrator = new MqttPeer({
      clientId: `${name}-${siteId}-${this.concentrators.length + 1}`,
      port,
      clean: !durable,
      keepAliveSeconds: KEEP_ALIVE_SECONDS,
      subscriptions: serialNumbers.map((serialNumber) => deviceTopic(siteId, serialNumber, 'commands')),
      onMessage: (topic, payload) => this.execute(topic, payload),
      ...(host === undefined ? {} : { host }),
      ...(reconnectMs === undefined ? {} : { reconnectMs }),
    })
    this.concentrators.push(concentrator)
    for (const serialNumber of serialNumbers) {
      this.meters.set(serialNumber, {
        serialNumber,
        answerTopic: deviceTopic(siteId, serialNumber, 'responses'),
        concentrator,
        position: this.meters.size,
        memory: newMemory(behaviour, serialNumber),
        read: null,
      })
    }
  }

  private execute(topic: string, payload: Buffer): void {
    const meter = this.meters.get(parseDeviceTopic(topic)?.serialNumber ?? '')
    if (meter === undefined) throw new Error(`a command came on ${topic}, which nobody here subscribed to`)
    const command = JSON.parse(payload.toString('utf8')) as CommandMessage
    const execution = this.count(meter.serialNumber, command)
    this.options.onExecuted?.(meter.serialNumber, command)
    const { memory, answer, delayMs } = react(this.options.behaviour, meter.memory, command, {
      serialNumber: meter.serialNumber,
      kind: 'meter',
      timeMs: clock.wallMs(),
      reading: () => this.readingOf(meter),
    })
    meter.memory = memory
    if (answer === null) return
    const timer = clock.after(delayMs, () => {
      this.answers.delete(timer)
      execution.status = answer.status
      meter.concentrator.publish(meter.answerTopic, JSON.stringify(answer), 1)
    })
    this.answers.add(timer)
  }

  private count(serialNumber: string, command: CommandMessage): Execution {
    const before = this.executions.get(command.commandId)
    if (before !== undefined) {
      before.times++
      return before
    }
    const execution: Execution = { serialNumber, command, times: 1, atMs: clock.wallMs(), status: null }
    this.executions.set(command.commandId, execution)
    return execution
  }

  private readingOf(meter: Meter): Reading {
    const { seed } = this.options.behaviour
    meter.read ??= meterOf({ seed: seed + meter.position, weather: weatherOf(seed), grid: gridOf(seed) })
    return meter.read(clock.wallMs())
  }
}

/** `count` serial numbers `MTR-00001` …. */
export function meterNames(count: number, prefix = 'MTR-'): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${String(i + 1).padStart(5, '0')}`)
}
