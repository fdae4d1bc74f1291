/**
 * A whole site under test: journal devices, an edge, a link that can be cut, a cloud core and a real Kafka broker, each
 * a process of its own.
 */

import { rm } from 'node:fs/promises'
import { type Arrival, expectArrived } from './arrival.ts'
import { type CloudProcess, startCloud } from './cloud-process.ts'
import { type EdgeProcess, startEdge } from './edge-process.ts'
import { JournalDevice } from './journal-device.ts'
import { startKafka, type TestKafka } from './kafka.ts'
import { readTopic, toArrivedReading } from './kcat.ts'
import { type Link, openLink } from './link.ts'
import { until } from './until.ts'

export interface Site {
  readonly kafka: TestKafka
  readonly cloud: CloudProcess
  readonly link: Link
  readonly edge: EdgeProcess
  readonly devices: readonly JournalDevice[]
  /** Readings acknowledged to the devices so far. */
  acknowledged(): number
  /** Lets the devices finish, waits until the spool is empty, and asserts that everything acknowledged arrived. */
  settle(): Promise<Arrival>
  stop(): Promise<void>
}

export interface SiteOptions {
  readonly devices: number
  /** Pause between a device's readings, milliseconds; 0 is as fast as it goes. */
  readonly intervalMs?: number
}

const SETTLE_TIMEOUT_MS = 60_000

export async function startSite(options: SiteOptions): Promise<Site> {
  const kafka = await startKafka()
  const cloud = await startCloud({ kafkaBrokers: kafka.brokers })
  const link = await openLink({ targetPort: cloud.ingestPort })
  const names = Array.from({ length: options.devices }, (_, i) => ({ siteId: 1, serialNumber: `INV-${100 + i}` }))
  const edge = await startEdge({ uplinkPort: link.port, devices: names })
  const devices = names.map(({ siteId, serialNumber }) =>
    new JournalDevice({
      port: edge.mqttPort,
      siteId,
      serialNumber,
      intervalMs: options.intervalMs ?? 0,
      ...edge.logins.get(serialNumber),
    }).start(),
  )

  return {
    kafka,
    cloud,
    link,
    edge,
    devices,
    acknowledged: () => devices.reduce((sum, device) => sum + device.acknowledged, 0),
    async settle() {
      for (const device of devices) device.finish()
      await until(() => devices.every((device) => device.settled), {
        timeoutMs: SETTLE_TIMEOUT_MS,
        what: 'every reading sent is acknowledged',
      })
      await until(async () => (await edge.status()).spool.lanes.telemetry.records === 0, {
        timeoutMs: SETTLE_TIMEOUT_MS,
        what: 'the spool is empty',
      })
      const records = await readTopic(kafka.brokers, 'device-telemetry')
      return expectArrived(devices, records.map(toArrivedReading))
    },
    async stop() {
      for (const device of devices) device.close()
      await edge.kill('SIGKILL')
      await link.close()
      await cloud.kill('SIGKILL')
      await kafka.stop()
      await rm(edge.dir, { recursive: true, force: true })
      await rm(cloud.dir, { recursive: true, force: true })
    },
  }
}
