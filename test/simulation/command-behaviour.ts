/**
 * How a simulated device takes commands: what it does, what it answers and how long that takes. Pure. What becomes of the
 * first, second … command of a device follows from the seed and its serial number alone, never from ids or times, so a run
 * replays, and a test knows beforehand which devices will fail.
 *
 * Result codes are the Data-Access-Result of DLMS/COSEM (IEC 62056-5-3).
 */

import { hashFraction } from './noise.ts'
import type { Reading, SimulatedDevice } from './substation.ts'

/** The payload of a `…/commands` message. */
export interface CommandMessage {
  readonly commandId: string
  readonly taskId?: string
  readonly name: string
  readonly params: unknown
  readonly issuedAt: string
  readonly expiresAt: string
}

/** The payload of a `…/responses` message. */
export interface CommandAnswer {
  readonly commandId: string
  readonly status: 'SUCCESS' | 'FAILED' | 'REJECTED'
  readonly payload?: Readonly<Record<string, unknown>>
}

export type Fate = 'obeys' | 'fails' | 'rejects' | 'dawdles' | 'stays-silent'

export interface BehaviourOptions {
  readonly seed: number
  /** Shares of all commands, 0 to 1; the rest is obeyed at once. */
  readonly failing?: number
  readonly rejecting?: number
  readonly slow?: number
  readonly silent?: number
  /** Bounds of the time to an answer, milliseconds. */
  readonly answerMs?: readonly [number, number]
  /** The same of a slow device. */
  readonly slowAnswerMs?: readonly [number, number]
}

/** What a device remembers between commands. */
export interface DeviceMemory {
  /** Commands so far. */
  readonly commands: number
  /** Its clock less the true time, milliseconds. */
  readonly clockErrorMs: number
  readonly relay: 'CONNECTED' | 'DISCONNECTED'
  readonly touProfileId: string | null
  readonly boots: number
}

export interface Reaction {
  readonly fate: Fate
  readonly memory: DeviceMemory
  /** Null when it stays silent. */
  readonly answer: CommandAnswer | null
  readonly delayMs: number
}

export interface Circumstances {
  readonly serialNumber: string
  readonly kind: SimulatedDevice['kind']
  /** True time, Unix milliseconds. */
  readonly timeMs: number
  /** What its registers hold now. */
  readonly reading: () => Reading
}

type Outcome = Pick<CommandAnswer, 'status' | 'payload'> & { readonly changes?: Partial<DeviceMemory> }

const SUCCESS = 0
const OBJECT_UNDEFINED = 4
/** hardware-fault, temporary-failure, read-write-denied, object-unavailable, other-reason. */
const FAILURES = [1, 2, 3, 11, 250] as const
/** A clock that was never set is wrong by no more than this. */
const CLOCK_ERROR_MS_MAX = 90_000

/** COSEM objects by OBIS code (IEC 62056-6-1), as far as the simulated readings have them. */
const REGISTERS: Readonly<Record<string, string>> = {
  '1.0.1.8.0.255': 'energyKwh',
  '1.0.2.8.0.255': 'energyTodayKwh',
  '1.0.1.7.0.255': 'powerKw',
  '1.0.32.7.0.255': 'voltageL1',
  '1.0.52.7.0.255': 'voltageL2',
  '1.0.72.7.0.255': 'voltageL3',
  '1.0.11.7.0.255': 'current',
  '1.0.13.7.0.255': 'powerFactor',
  '1.0.14.7.0.255': 'frequency',
}

/** What will become of the command that a device gets after `commands` others. */
export function fateOf(options: BehaviourOptions, serialNumber: string, commands: number): Fate {
  const { failing = 0.02, rejecting = 0.01, slow = 0.03, silent = 0.005 } = options
  const chance = drawOf(options.seed, serialNumber, commands, 0)
  const bounds: readonly (readonly [Fate, number])[] = [
    ['fails', failing],
    ['rejects', rejecting],
    ['dawdles', slow],
    ['stays-silent', silent],
  ]
  let below = 0
  for (const [fate, share] of bounds) {
    below += share
    if (chance < below) return fate
  }
  return 'obeys'
}

/** A device as it leaves the factory. */
export function newMemory(options: BehaviourOptions, serialNumber: string): DeviceMemory {
  const clockErrorMs = Math.round((drawOf(options.seed, serialNumber, 0, 1) * 2 - 1) * CLOCK_ERROR_MS_MAX)
  return { commands: 0, clockErrorMs, relay: 'CONNECTED', touProfileId: null, boots: 1 }
}

/** What the device does with a command. A command it does not know, or whose parameters it cannot use, it rejects. */
export function react(
  options: BehaviourOptions,
  memory: DeviceMemory,
  command: CommandMessage,
  circumstances: Circumstances,
): Reaction {
  const { serialNumber, timeMs } = circumstances
  const { answerMs = [5, 150], slowAnswerMs = [2_000, 8_000] } = options
  const fate = fateOf(options, serialNumber, memory.commands)
  const counted = { ...memory, commands: memory.commands + 1 }
  const [least, most] = fate === 'dawdles' ? slowAnswerMs : answerMs
  const delayMs = least + (most - least) * drawOf(options.seed, serialNumber, memory.commands, 2)
  const obeyed = obey(memory, command, circumstances)
  if (fate === 'stays-silent') return { fate, memory: { ...counted, ...obeyed.changes }, answer: null, delayMs }
  const outcome = obeyed.status === 'SUCCESS' ? (spoilt(options, fate, memory, serialNumber) ?? obeyed) : obeyed
  const after = { ...counted, ...outcome.changes }
  const deviceTime = new Date(timeMs + delayMs + after.clockErrorMs).toISOString()
  const { dlmsResultCode, ...rest } = outcome.payload ?? {}
  const payload = { dlmsResultCode, deviceTime, ...rest }
  return { fate, memory: after, answer: { commandId: command.commandId, status: outcome.status, payload }, delayMs }
}

/** What goes wrong though the command is right; null when nothing does. */
function spoilt(options: BehaviourOptions, fate: Fate, memory: DeviceMemory, serialNumber: string): Outcome | null {
  if (fate === 'rejects') return { status: 'REJECTED', payload: { dlmsResultCode: 3, reason: 'locked by an operator' } }
  if (fate !== 'fails') return null
  const code = FAILURES[Math.floor(drawOf(options.seed, serialNumber, memory.commands, 3) * FAILURES.length)]
  return { status: 'FAILED', payload: { dlmsResultCode: code } }
}

function obey(memory: DeviceMemory, command: CommandMessage, circumstances: Circumstances): Outcome {
  const params = isObject(command.params) ? command.params : {}
  const done = (payload: object = {}, changes: Partial<DeviceMemory> = {}): Outcome => ({
    status: 'SUCCESS',
    payload: { dlmsResultCode: SUCCESS, ...payload },
    changes,
  })
  switch (command.name.toUpperCase()) {
    case 'SET_TOU': {
      const { tou_profile_id: profile } = params
      if (circumstances.kind !== 'meter') return rejected('it has no tariffs')
      if (typeof profile !== 'string' || profile === '') return rejected('tou_profile_id is missing')
      return done({}, { touProfileId: profile })
    }
    case 'REBOOT':
      return done({ boots: memory.boots + 1 }, { boots: memory.boots + 1 })
    case 'READ_REGISTERS':
      return readRegisters(params.registers, circumstances.reading())
    case 'SYNC_TIME':
      return done({ adjustedByMs: -memory.clockErrorMs }, { clockErrorMs: 0 })
    case 'REMOTE_DISCONNECT':
      return done({ relay: 'DISCONNECTED' }, { relay: 'DISCONNECTED' })
    case 'REMOTE_RECONNECT':
      return done({ relay: 'CONNECTED' }, { relay: 'CONNECTED' })
    default:
      return rejected(`it does not know ${command.name}`)
  }
}

/** Registers by OBIS code or by the name of the reading; fails when it lacks one of them. */
function readRegisters(asked: unknown, reading: Reading): Outcome {
  if (!Array.isArray(asked) || asked.length === 0) return rejected('registers is missing')
  const names = asked.map(String)
  // `1-0:1.8.0*255` and `1.0.1.8.0.255` are the same object.
  const fieldOf = (name: string): string => REGISTERS[name.replaceAll(/[-:*&]/g, '.')] ?? name
  const unknown = names.filter((name) => reading[fieldOf(name)] === undefined)
  if (unknown.length > 0) return { status: 'FAILED', payload: { dlmsResultCode: OBJECT_UNDEFINED, unknown } }
  const registers = Object.fromEntries(names.map((name) => [name, reading[fieldOf(name)]]))
  return { status: 'SUCCESS', payload: { dlmsResultCode: SUCCESS, registers } }
}

function rejected(reason: string): Outcome {
  return { status: 'REJECTED', payload: { dlmsResultCode: OBJECT_UNDEFINED, reason } }
}

/** Uniform in [0, 1), one of its own for every purpose. */
function drawOf(seed: number, serialNumber: string, commands: number, purpose: number): number {
  let hash = seed
  for (let i = 0; i < serialNumber.length; i++) hash = Math.imul(hash ^ serialNumber.charCodeAt(i), 0x01000193)
  return hashFraction(hash, commands * 8 + purpose)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
