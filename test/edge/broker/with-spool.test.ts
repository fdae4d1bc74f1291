import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Broker } from '../../../edge/broker/broker.ts'
import { Spool } from '../../../edge/spool/spool.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'
import { connectFrame, DISCONNECT, pubackIds, publishFrame } from './support/frames.ts'
import { rawClient, stopBroker } from './support/site.ts'

const TOPIC = 'sites/1/devices/INV-001/telemetry'
const MESSAGES = 20_000

test('every message acknowledged is in the spool, and survives it, through both ways in', async () => {
  const dir = await tempDir()
  const tools = { clock: systemClock, random: systemRandom, log: silentLogger }
  const spoolOptions = {
    dir: join(dir, 'spool'),
    bytesMax: 1e9,
    ageMaxMs: 1e9,
    diskFreeBytesMin: 0,
    blockBytesMax: 256 * 1024,
    // Small, so that the broker has to stop reading now and then.
    pendingBytesMax: 128 * 1024,
    compressionLevel: 1,
    ...tools,
  }
  const spool = new Spool(spoolOptions)
  await spool.start()
  const broker = new Broker({
    listeners: { tcp: { host: '127.0.0.1', port: 0 } },
    insecure: true,
    spool,
    credentials: { file: join(dir, 'credentials.json') },
    certificates: { authorityDir: join(dir, 'authority'), otherAuthorities: '', required: false },
    sessions: { dir },
    ...tools,
  })
  await broker.start()
  const raw = await rawClient(broker.addresses().tcp?.port ?? 0)
  raw.send(connectFrame())
  await until(() => raw.received.length === 4)
  raw.received = Buffer.alloc(0)
  for (let from = 1; from <= MESSAGES; from += 1000) {
    // The first of each thousand is retained and so takes the long way.
    const frames = Array.from({ length: 1000 }, (_, i) =>
      publishFrame(TOPIC, `{"powerKw":${from + i}}`, { id: from + i, retain: i === 0 }),
    )
    raw.send(Buffer.concat(frames))
  }
  await until(() => raw.received.length === MESSAGES * 4)
  expect(pubackIds(raw.received)).toEqual(Array.from({ length: MESSAGES }, (_, i) => i + 1))
  expect(spool.stats().lanes.telemetry.records).toBe(MESSAGES)
  raw.send(Buffer.concat([publishFrame(TOPIC, '{}', { id: 1 }), DISCONNECT]))
  await until(() => raw.closed)
  await stopBroker(broker)
  await spool.stop(AbortSignal.timeout(5000))
  const reopened = new Spool(spoolOptions)
  await reopened.start()
  expect(reopened.stats().lanes.telemetry.records).toBe(MESSAGES + 1)
  await reopened.stop(AbortSignal.timeout(5000))
})
