/** What of a core runs tasks: database, outbox with its relay, device commands, registry, and a device side that answers. */

import { onTestFinished } from 'vitest'
import type { Bus } from '../../../../cloud/bus/bus.ts'
import { ORCHESTRATOR_RESPONSES } from '../../../../cloud/bus/catalogue.ts'
import { Outbox } from '../../../../cloud/bus/outbox.ts'
import { OutboxRelay } from '../../../../cloud/bus/outbox-relay.ts'
import type { DatabaseHandle } from '../../../../cloud/database/database.ts'
import { type CommandReport, type CommandState, DeviceCommands } from '../../../../cloud/gateways/gateways.ts'
import {
  type NewTask,
  TaskOrchestration,
  type TaskSettings,
  Tasks,
  type TasksOptions,
  type TaskView,
} from '../../../../cloud/orchestration/orchestration.ts'
import { Registry } from '../../../../cloud/registry/registry.ts'
import { type Clock, systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'
import type { DatabaseUnderTest } from '../../../support/databases.ts'
import { embeddedBus } from '../../../support/outbox-relay.ts'
import { parkingOver } from '../../../support/parking.ts'
import type { TopicReader } from '../../../support/topic-reader.ts'
import { until } from '../../../support/until.ts'

export const TASK_SETTINGS: TaskSettings = {
  allowUnknownTypes: true,
  payloadBytesMax: 16 * 1024,
  devicesMax: 10_000,
  concurrency: 1_000,
  leaseMs: 10_000,
  expiryMs: 86_400_000,
  timeoutMs: 60_000,
  keptDays: 90,
}

let cores = 0

export interface TaskCore {
  readonly coreId: string
  readonly database: DatabaseHandle
  readonly registry: Registry
  readonly outbox: Outbox
  readonly relay: OutboxRelay
  readonly deviceCommands: DeviceCommands
  readonly tasks: Tasks
  readonly orchestration: TaskOrchestration
  start(): Promise<void>
  stop(): Promise<void>
  /** Ends it as a power cut would: nothing of it writes any more, its leases stay. */
  kill(): Promise<void>
}

/** Not started; stopped when the test ends. Several over one database and one bus are the cores of one system. */
export function taskCore(
  database: DatabaseHandle,
  bus: Bus,
  options: {
    readonly settings?: Partial<TaskSettings>
    readonly onEnded?: TasksOptions['onEnded']
    readonly clock?: Clock
    readonly pollMs?: number
  } = {},
): TaskCore {
  const { clock = systemClock, pollMs = 50, onEnded = async () => undefined } = options
  const common = { clock, log: silentLogger }
  const coreId = `core-${++cores}`
  const settings = { ...TASK_SETTINGS, ...options.settings }
  const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, ...common })
  const outbox = new Outbox({ database, ...common })
  const relay = new OutboxRelay({
    outbox,
    bus,
    database,
    coreId,
    keptMs: 3_600_000,
    leaseMs: 500,
    pollMs,
    random: systemRandom,
    ...common,
  })
  const deviceCommands = new DeviceCommands({ database, outbox, ...common })
  const tasks = new Tasks({ database, outbox, registry, settings, onEnded, random: systemRandom, clock })
  const parking = parkingOver(database, bus, { coreId, clock })
  const orchestration = new TaskOrchestration({
    tasks,
    parking,
    database,
    bus,
    outbox,
    deviceCommands,
    registry,
    settings,
    coreId,
    pollMs,
    random: systemRandom,
    ...common,
  })
  const stop = async () => {
    await orchestration.stop()
    await parking.stop()
    await relay.stop(AbortSignal.timeout(5_000))
  }
  onTestFinished(stop)
  return {
    coreId,
    database,
    registry,
    outbox,
    relay,
    deviceCommands,
    tasks,
    orchestration,
    async start() {
      await relay.start()
      await parking.start()
      await orchestration.start()
    },
    stop,
    async kill() {
      await database.stop()
      await orchestration.stop()
      await parking.stop()
      await relay.stop(AbortSignal.abort())
    },
  }
}

/** A started core over a database and a bus of its own. */
export async function startTaskCore(database: DatabaseUnderTest, options: Parameters<typeof taskCore>[2] = {}) {
  const bus = await embeddedBus()
  const url = await database.freshUrl()
  const core = taskCore(await database.open({ url }), bus, options)
  await core.start()
  return { bus, url, core }
}

const SET_TOU = { commandType: 'SET_TOU', commandParams: { tou_profile_id: 'TOU-2025-TEST' }, requestedBy: 'userB' }

export function create(core: TaskCore, task: Partial<NewTask>): Promise<TaskView> {
  return core.tasks.create({ ...SET_TOU, ...task })
}

/** The task when it has ended. */
export function ended(core: TaskCore, id: string, timeoutMs = 20_000): Promise<TaskView> {
  return until(
    async () => {
      const task = await core.tasks.get(id)
      return task !== null && task.finishedAtMs !== null ? task : null
    },
    { what: `the end of task ${id}`, timeoutMs },
  )
}

export function responses(reader: TopicReader): Record<string, unknown>[] {
  return reader.values(ORCHESTRATOR_RESPONSES)
}

/** Registers devices `MTR-00000` and so on of one site. */
export async function registerMeters(registry: Registry, count: number, siteId = 1): Promise<string[]> {
  const serials = Array.from({ length: count }, (_, index) => `MTR-${String(index).padStart(5, '0')}`)
  await registry.load(
    `gw-${siteId}`,
    serials.map((serialNumber) => ({ siteId, serialNumber })),
  )
  return serials
}

/** What a device does with a command; null for nothing. */
export interface DeviceAnswer {
  readonly state: CommandState
  readonly payload?: object
  readonly reason?: string
}
export type DeviceBehaviour = (command: {
  readonly serialNumber: string
  readonly commandId: string
  /** How many commands it has had before this one. */
  readonly before: number
}) => DeviceAnswer | null

export interface DeviceSide {
  /** Commands that each device has had, by serial number. */
  readonly executed: ReadonlyMap<string, string[]>
  stop(): Promise<void>
}

/**
 * Devices that take what waits in the database and answer through DeviceCommands, as ingest does. A command that was recorded
 * as DELIVERED is not taken again.
 */
export function deviceSide(core: Pick<TaskCore, 'database' | 'deviceCommands'>, behave: DeviceBehaviour): DeviceSide {
  const { database, deviceCommands } = core
  const executed = new Map<string, string[]>()
  const taken = new Set<string>()
  let stopped = false
  const turn = async () => {
    const rows = await database.kysely
      .selectFrom('device_commands')
      .select(['command_id', 'site_id', 'serial_number'])
      .where('state', '=', 'QUEUED')
      .limit(2_000)
      .execute()
    const fresh = rows.filter((row) => !taken.has(row.command_id))
    if (fresh.length === 0) return
    const reports = fresh.flatMap((row) => {
      const had = executed.get(row.serial_number) ?? []
      const answer = behave({ serialNumber: row.serial_number, commandId: row.command_id, before: had.length })
      executed.set(row.serial_number, [...had, row.command_id])
      taken.add(row.command_id)
      const device = { siteId: row.site_id, serialNumber: row.serial_number }
      const delivered = reportOf(row.command_id, device, { state: 'DELIVERED' })
      return answer === null ? [delivered] : [delivered, reportOf(row.command_id, device, answer)]
    })
    await database.transaction((transaction) => deviceCommands.record(reports, transaction))
    deviceCommands.nudge()
  }
  const running = (async () => {
    while (!stopped) {
      await turn().catch((error: unknown) => {
        if (!stopped) throw error
      })
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  })()
  const stop = async () => {
    stopped = true
    await running
  }
  onTestFinished(stop)
  return { executed, stop }
}

export function reportOf(
  commandId: string,
  device: { readonly siteId: number; readonly serialNumber: string },
  answer: DeviceAnswer,
): CommandReport {
  return {
    commandId,
    gatewayId: 'gw-1',
    ...device,
    state: answer.state,
    payload: answer.payload === undefined ? null : JSON.stringify(answer.payload),
    reason: answer.reason ?? null,
    receivedAtMs: Date.now(),
    value: Buffer.from('{}'),
    headers: {},
  }
}
