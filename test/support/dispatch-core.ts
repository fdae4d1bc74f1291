/** What a core needs to bring commands to gateways: registry, leases, commands and dispatcher, real, over one database. */

import type { Transaction } from 'kysely'
import { onTestFinished } from 'vitest'
import { Outbox } from '../../cloud/bus/outbox.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import type { Database } from '../../cloud/database/schema.ts'
import {
  type CommandChange,
  CommandDispatcher,
  type CommandOwner,
  type CommandReport,
  type CommandState,
  DeviceCommands,
  type Downlink,
  Gateways,
  type NewDeviceCommand,
} from '../../cloud/gateways/gateways.ts'
import { Registry } from '../../cloud/registry/registry.ts'
import type { Command } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import { type Clock, systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { randomHex, systemRandom } from '../../shared/random.ts'
import { until } from './until.ts'

export const SITE = 1

/** Gateway of each device, by serial number; null for one whose gateway is not known. Ids are 1, 2, … in this order. */
export type DeviceGateways = Readonly<Record<string, string | null>>

/** Registers the devices, once a database. */
export async function addDevices(database: DatabaseHandle, devices: DeviceGateways): Promise<void> {
  const { kysely } = database
  const atMs = { created_at_ms: 1, updated_at_ms: 1 }
  await kysely
    .insertInto('sites')
    .values({ id: SITE, name: 'Site', ...atMs })
    .execute()
  const rows = Object.entries(devices).map(([serialNumber, gatewayId], i) => ({
    id: i + 1,
    site_id: SITE,
    serial_number: serialNumber,
    device_type: 'METER',
    gateway_id: gatewayId,
    ...atMs,
  }))
  for (let start = 0; start < rows.length; start += 500) {
    await kysely
      .insertInto('devices')
      .values(rows.slice(start, start + 500))
      .execute()
  }
}

export interface DispatchCoreOptions {
  readonly clock?: Clock
  readonly leaseMs?: number
  readonly windowCommands?: number
  readonly answerGraceMs?: number
  readonly keptMs?: number
  readonly pollMs?: number
  readonly refusedPauseMs?: number
  readonly unansweredMs?: number
  readonly cancelRepeatMs?: number
  /** Called with every change, in its transaction, before it is noted. */
  readonly onChanged?: (changes: readonly CommandChange[], transaction: Transaction<Database>) => Promise<void> | void
}

export type DispatchCore = Awaited<ReturnType<typeof dispatchCore>>

/** Not started: `gateways.start()` and `dispatcher.start()` as the test needs them. Stopped when the test ends. */
export function dispatchCore(database: DatabaseHandle, options: DispatchCoreOptions = {}) {
  const { clock = systemClock, leaseMs = 10_000, onChanged, ...settings } = options
  const common = { clock, random: systemRandom, log: silentLogger }
  const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, ...common })
  const outbox = new Outbox({ database, clock })
  const gateways = new Gateways({ registry, database, coreId: randomHex(systemRandom, 4), leaseMs, ...common })
  const commands = new DeviceCommands({ database, outbox, clock })
  const dispatcher = new CommandDispatcher({
    database,
    gateways,
    commands,
    windowCommands: 500,
    answerGraceMs: 300_000,
    keptMs: 86_400_000,
    pollMs: 20,
    ...settings,
    ...common,
  })
  const changes: CommandChange[] = []
  for (const owner of ['command', 'task'] as const satisfies CommandOwner[]) {
    commands.onChanged(owner, async (told, transaction) => {
      await onChanged?.(told, transaction)
      changes.push(...told)
    })
  }
  const stop = async () => {
    const deadline = AbortSignal.timeout(5_000)
    await dispatcher.stop(deadline)
    await gateways.stop()
  }
  onTestFinished(stop)
  return {
    database,
    clock,
    gateways,
    commands,
    dispatcher,
    /** What the owners were told, in order. */
    changes,
    stop,
    /** Issues and nudges, as the API does. */
    async issue(...issued: readonly NewDeviceCommand[]) {
      await database.transaction((transaction) => commands.issue(issued, transaction))
      commands.nudge()
    },
    async cancel(...ids: readonly string[]) {
      await database.transaction((transaction) => commands.cancel(ids, transaction))
      commands.nudge()
    },
    async record(...reports: readonly CommandReport[]) {
      await database.transaction((transaction) => commands.record(reports, transaction))
      commands.nudge()
    },
    /** A gateway connects, and commands may go down. */
    async connect(gatewayId: string, recording = new RecordingDownlink()) {
      const sessionId = randomHex(systemRandom, 8)
      await gateways.arrived({
        gatewayId,
        sessionId,
        epoch: 'epoch',
        softwareVersion: '1',
        bootId: 'boot',
        clockOffsetMs: 0,
      })
      recording.onCommands = (ids) => {
        if (recording.answer === 'stored') gateways.receipted(gatewayId, sessionId, { stored: ids, refused: [] })
        if (recording.answer === 'refused') gateways.receipted(gatewayId, sessionId, { stored: [], refused: ids })
      }
      gateways.opened(gatewayId, sessionId, recording)
      return { gatewayId, sessionId, downlink: recording, leave: () => gateways.left(gatewayId, sessionId) }
    },
    async row(commandId: string) {
      return database.kysely
        .selectFrom('device_commands')
        .selectAll()
        .where('command_id', '=', commandId)
        .executeTakeFirstOrThrow()
    },
    async stateOf(commandId: string): Promise<string> {
      return (await this.row(commandId)).state
    },
    async untilState(commandId: string, state: CommandState): Promise<void> {
      await until(async () => (await this.stateOf(commandId)) === state, { what: `${commandId} is ${state}` })
    },
  }
}

/** What went down a session, and how the gateway answers. */
export class RecordingDownlink implements Downlink {
  answer: 'stored' | 'refused' | 'nothing' = 'stored'
  readonly messages: (readonly Command[])[] = []
  readonly cancelled: string[] = []
  readonly ended: string[] = []
  onCommands: (ids: readonly string[]) => void = () => {}

  get commands(): Command[] {
    return this.messages.flat()
  }

  get ids(): string[] {
    return this.commands.map((command) => command.commandId)
  }

  sendCommands(commands: readonly Command[]): void {
    this.messages.push(commands)
    this.onCommands(commands.map((command) => command.commandId))
  }

  cancelCommands(ids: readonly string[]): void {
    this.cancelled.push(...ids)
  }

  end(reason: string): void {
    this.ended.push(reason)
  }
}

/** For device number `deviceId`, whose serial number is `m<deviceId>`. */
export function newCommand(
  commandId: string,
  deviceId = 1,
  changes: Partial<NewDeviceCommand> & { readonly clock?: Clock } = {},
): NewDeviceCommand {
  const { clock = systemClock, ...given } = changes
  const nowMs = Math.round(clock.wallMs())
  return {
    commandId,
    owner: 'command',
    taskId: null,
    deviceId,
    siteId: SITE,
    serialNumber: `m${deviceId}`,
    name: 'REBOOT',
    params: 'null',
    issuedAtMs: nowMs,
    expiresAtMs: nowMs + 600_000,
    timeoutMs: 60_000,
    ...given,
  }
}

/** What a gateway's record says of a command of device number `deviceId`. */
export function report(
  commandId: string,
  state: CommandState,
  changes: Partial<CommandReport> & { readonly deviceId?: number } = {},
): CommandReport {
  const { deviceId = 1, ...given } = changes
  return {
    commandId,
    gatewayId: 'g1',
    siteId: SITE,
    serialNumber: `m${deviceId}`,
    state,
    payload: null,
    reason: null,
    receivedAtMs: 1_700_000_000_000,
    value: Buffer.from(JSON.stringify({ commandId, status: state })),
    headers: { gateway: 'g1', seq: '1' },
    ...given,
  }
}
