/** What the demo runs: a cloud core, a gateway, the link between them, and a simulated substation. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../shared/clock.ts'
import type { BehaviourOptions } from '../simulation/command-behaviour.ts'
import { DeviceClient } from '../simulation/device-client.ts'
import { Playback } from '../simulation/playback.ts'
import { type SimulatedDevice, simulateSubstation } from '../simulation/substation.ts'
import { DAY_MS } from '../simulation/weather.ts'
import { type CloudProcess, startCloud } from '../support/cloud-process.ts'
import { type EdgeProcess, startEdge } from '../support/edge-process.ts'
import { freePort } from '../support/free-port.ts'
import { type Link, openLink } from '../support/link.ts'
import type { Tally } from './tally.ts'

export const SITE_ID = 1
/** Logins that a visitor may try. */
export const VISITOR_DEVICE = 'INV-900'
export const VISITOR_OBSERVER = 'console'

const INVERTERS = 8
const METERS = 4
const SEED = 20_260_621
/** Two of the meters take their time, and one cannot do what it is told. */
const BEHAVIOUR: BehaviourOptions = {
  seed: 16,
  failing: 0.15,
  rejecting: 0,
  slow: 0.3,
  silent: 0,
  slowAnswerMs: [1_500, 4_000],
}
/** The past that is played. */
const PAST_MS = 4 * DAY_MS
/** Three hours a second. */
const SPEED = 10_800

export interface Stage {
  readonly cloud: CloudProcess
  readonly edge: EdgeProcess
  readonly link: Link
  readonly clients: readonly DeviceClient[]
  readonly playback: Playback
  /** Readings that devices have sent and the broker has not acknowledged. */
  outstanding(): number
  /** The end of what the processes wrote, for a failure's message. */
  logs(): string
  stop(): Promise<void>
}

/** Ports are the usual ones where they are free. Rejects with what the processes said when one does not start. */
export async function setStage(tally: Tally): Promise<Stage> {
  const dir = mkdtempSync(join(tmpdir(), 'busbar-demo-'))
  const undo: (() => Promise<unknown> | unknown)[] = [() => rmSync(dir, { recursive: true, force: true })]
  const stop = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step()
  }
  try {
    const devices = simulateSubstation({ seed: SEED, siteId: SITE_ID, inverters: INVERTERS, meters: METERS })
    const cloud = await startCloud({
      dir: join(dir, 'cloud'),
      ingestPort: await freePort(7443),
      apiPort: await freePort(8080),
    })
    undo.push(() => cloud.stop())
    const link = await openLink({ targetPort: cloud.ingestPort })
    undo.push(() => link.close())
    const edge = await startEdge({
      dir: join(dir, 'edge'),
      gatewayId: 'substation-1',
      uplinkPort: link.port,
      mqttPort: await freePort(1883),
      healthPort: await freePort(9464),
      devices: [...devices.map((device) => device.serialNumber), VISITOR_DEVICE].map((serialNumber) => ({
        siteId: SITE_ID,
        serialNumber,
      })),
      observers: [VISITOR_OBSERVER],
    })
    undo.push(() => edge.stop())
    const clients = devices.map((device) => clientOf(device, edge, tally))
    undo.push(() => Promise.all(clients.map((client) => client.stop())))
    await Promise.all(clients.map((client) => client.start()))
    const playback = new Playback({
      clients,
      clock: systemClock,
      fromMs: systemClock.wallMs() - PAST_MS,
      speed: SPEED,
      intervalMs: 60_000,
      liveIntervalMs: 1_000,
    })
    undo.push(() => playback.stop())
    return {
      cloud,
      edge,
      link,
      clients,
      playback,
      outstanding: () => clients.reduce((sum, client) => sum + client.outstanding, 0),
      logs: () => `edge:\n${edge.logs().slice(-3000)}\ncloud:\n${cloud.logs().slice(-3000)}\n`,
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function clientOf(device: SimulatedDevice, edge: EdgeProcess, tally: Tally): DeviceClient {
  const login = edge.logins.get(device.serialNumber)
  if (login === undefined) throw new Error(`${device.serialNumber} has no login`)
  return new DeviceClient({
    device,
    port: edge.mqttPort,
    ...login,
    behaviour: BEHAVIOUR,
    onPublished: (serialNumber, sample) => tally.published(serialNumber, sample),
    onAcknowledged: (serialNumber, sample) => tally.acknowledged(serialNumber, sample),
  })
}
