/**
 * From a device's publish to a Kafka consumer, with the compiled programs and clients that nobody here wrote:
 * mosquitto_pub and mosquitto_sub on site, kcat and Kafka's own console consumer behind the cloud.
 */

import { spawn } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Binaries, buildBinaries, withoutNodeModules } from '../support/binaries.ts'
import { type Child, startChild } from '../support/child.ts'
import { type CloudProcess, startCloud } from '../support/cloud-process.ts'
import { type EdgeProcess, startEdge } from '../support/edge-process.ts'
import { describeKafka, startKafka, type TestKafka } from '../support/kafka.ts'
import { kafkaJars } from '../support/kafka-jars.ts'
import { type KcatRecord, readTopic } from '../support/kcat.ts'
import { describeWith } from '../support/real-parts.ts'
import { until } from '../support/until.ts'

const TOPIC = 'sites/1/devices/INV-001/telemetry'

async function run(command: readonly [string, ...string[]]): Promise<string> {
  const child = startChild({ command })
  const { code } = await child.exited
  if (code !== 0) throw new Error(`${command.join(' ')} exited with ${code}\n${child.output()}`)
  return child.output()
}

describeKafka('first light', () => {
  describeWith(['mosquitto_pub', 'mosquitto_sub', 'kcat'], 'with compiled programs', (programs) => {
    let binaries: Binaries
    let kafka: TestKafka
    let cloud: CloudProcess
    let edge: EdgeProcess
    let observer: Child
    const seenOnSite: string[] = []

    const publish = (payload: string, topic = TOPIC): Promise<string> => {
      const login = edge.logins.get('INV-001')
      return run([
        programs.mosquitto_pub,
        ...['-h', '127.0.0.1', '-p', String(edge.mqttPort), '-q', '1', '-t', topic, '-m', payload],
        ...['-i', 'INV-001', '-u', login?.username ?? '', '-P', login?.password ?? ''],
      ])
    }
    const arrived = (topic: string, count: number): Promise<KcatRecord[]> =>
      until(
        async () => {
          const records = await readTopic(kafka.brokers, topic)
          return records.length >= count ? records : null
        },
        { what: `${count} records on ${topic}`, pollMs: 200 },
      )

    beforeAll(async () => {
      binaries = await buildBinaries()
      kafka = await startKafka()
      cloud = await startCloud({ binary: binaries.cloud, wrapper: withoutNodeModules, kafkaBrokers: kafka.brokers })
      edge = await startEdge({
        binary: binaries.edge,
        wrapper: withoutNodeModules,
        uplinkPort: cloud.ingestPort,
        devices: [{ siteId: 1, serialNumber: 'INV-001' }],
        observers: ['control-room'],
      })
      const login = edge.logins.get('control-room')
      observer = startChild({
        command: [
          // Line by line, although nobody is at a terminal.
          'stdbuf',
          '-oL',
          programs.mosquitto_sub,
          // With -d it says when it is subscribed.
          ...['-h', '127.0.0.1', '-p', String(edge.mqttPort), '-d', '-v', '-t', 'sites/+/devices/+/telemetry'],
          ...['-u', login?.username ?? '', '-P', login?.password ?? ''],
        ],
        onLine: (line) => seenOnSite.push(line),
      })
      await until(() => seenOnSite.some((line) => line.startsWith('Subscribed')), {
        what: 'the observer is subscribed',
      })
    })
    afterAll(async () => {
      await observer?.kill('SIGKILL')
      await edge?.stop()
      await cloud?.stop()
      await kafka?.stop()
      await binaries?.remove()
      for (const dir of [edge?.dir, cloud?.dir]) if (dir !== undefined) await rm(dir, { recursive: true, force: true })
    })

    it('a reading published with mosquitto_pub is read with kcat, as the contract has it', async () => {
      await publish('{"powerKw": 45.2}')
      const [record] = await arrived('device-telemetry', 1)
      expect(record?.key).toBe('INV-001')
      const value = JSON.parse(record?.payload ?? '') as Record<string, unknown>
      expect(value).toEqual({
        deviceId: expect.any(Number),
        serialNumber: 'INV-001',
        siteId: 1,
        deviceType: 'SOLAR_INVERTER',
        telemetryData: { powerKw: 45.2 },
        timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        eventType: 'DEVICE_TELEMETRY',
      })
      expect(record?.headers).toMatchObject({
        gateway: 'gateway-1',
        seq: expect.stringMatching(/^\d+$/),
        receivedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      })
    })

    it('an observer on site saw it too', async () => {
      await until(() => seenOnSite.includes(`${TOPIC} {"powerKw": 45.2}`), {
        what: 'mosquitto_sub printed the reading',
      })
    })

    it("Kafka's own console consumer reads key and value", async () => {
      const consumer = spawn('java', [
        ...['-cp', `${await kafkaJars()}/*`, 'org.apache.kafka.tools.consumer.ConsoleConsumer'],
        ...['--bootstrap-server', kafka.brokers[0] as string, '--topic', 'device-telemetry', '--from-beginning'],
        ...['--max-messages', '1', '--timeout-ms', '20000', '--formatter-property', 'print.key=true'],
      ])
      let output = ''
      consumer.stdout.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
      await new Promise((resolve) => consumer.once('close', resolve))
      expect(output).toMatch(/^INV-001\t\{"deviceId":\d+,"serialNumber":"INV-001"/m)
    })

    it('the comings and goings of a device are status changes', async () => {
      const records = await arrived('device-status', 2)
      const [online, offline] = records.map((record) => JSON.parse(record.payload) as Record<string, unknown>)
      expect(online).toMatchObject({ serialNumber: 'INV-001', previousStatus: 'OFFLINE', newStatus: 'ONLINE' })
      expect(online).toMatchObject({ eventType: 'DEVICE_STATUS_CHANGE', reason: 'device connected' })
      expect(offline).toMatchObject({ previousStatus: 'ONLINE', newStatus: 'OFFLINE', reason: 'device disconnected' })
    })

    it('what is not JSON is acknowledged, and ends in the dead letters with the reason', async () => {
      await publish('{"powerKw": 45.')
      const [record] = await arrived('device-telemetry-dlt', 1)
      expect(record?.key).toBe('INV-001')
      const value = JSON.parse(record?.payload ?? '') as { raw: string; error: Record<string, unknown> }
      expect(Buffer.from(value.raw, 'base64').toString()).toBe('{"powerKw": 45.')
      expect(value.error).toMatchObject({ code: 'NOT_JSON', message: expect.any(String), retryCount: 0 })
    })

    it('a reading dated in the future is kept under the time of its receipt', async () => {
      await publish('{"powerKw": 1.5, "timestamp": "2099-01-01T00:00:00Z"}')
      const records = await arrived('device-telemetry', 2)
      const value = JSON.parse(records.at(-1)?.payload ?? '') as { timestamp: string; telemetryData: unknown }
      expect(value.telemetryData).toEqual({ powerKw: 1.5 })
      expect(Date.parse(value.timestamp)).toBeLessThan(Date.parse('2099-01-01T00:00:00Z'))
      expect(records.at(-1)?.headers['deviceTimestamp']).toBe('2099-01-01T00:00:00Z')
    })

    it('latest values are served by the API', async () => {
      const latest = await until(
        async () => {
          const response = await fetch(`${cloud.apiUrl}/api/v1/devices/1/latest`)
          return response.ok ? ((await response.json()) as { values: Record<string, { value: unknown }> }) : null
        },
        { what: 'the API has latest values' },
      )
      expect(latest.values['powerKw']?.value).toBe(1.5)
    })

    it('SIGTERM ends both with status 0', async () => {
      expect(await edge.stop()).toMatchObject({ code: 0 })
      expect(await cloud.stop()).toMatchObject({ code: 0 })
    })
  })
})
