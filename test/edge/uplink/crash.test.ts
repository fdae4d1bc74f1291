import { expect, onTestFinished, test } from 'vitest'
import { ingestCore } from '../../support/ingest-core.ts'
import { type IngestProcess, startIngestProcess } from '../../support/ingest-process.ts'
import { seededRandom } from '../../support/seeded-random.ts'
import { append, appendEach, numbered, startSpool } from '../../support/spool.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'
import { startUplink } from '../../support/uplink-under-test.ts'

async function ingestProcess(options: Parameters<typeof startIngestProcess>[0]): Promise<IngestProcess> {
  const ingest = await startIngestProcess(options)
  onTestFinished(async () => {
    await ingest.child.kill('SIGCONT')
    await ingest.child.kill('SIGKILL')
  })
  return ingest
}

/** Opens what the killed processes left behind and tallies it. */
async function tally(dir: string, expected: number) {
  const { bus } = await ingestCore({ dir })
  const reader = await readTopics(bus, ['device-telemetry'])
  await until(() => new Set(reader.records.map(({ headers }) => headers['seq'])).size >= expected)
  const first = new Map<string, number>()
  for (const [index, value] of reader.values('device-telemetry').entries()) {
    const seq = reader.records[index]?.headers['seq'] as string
    if (!first.has(seq)) first.set(seq, (value['telemetryData'] as { n: number }).n)
  }
  return { copies: reader.records.length, readings: [...first.values()] }
}

const inOrder = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

test('a cloud killed between publishing and acknowledging loses nothing; a second copy has the same identity', async () => {
  const dir = await tempDir()
  const spool = await startSpool(await tempDir())
  await appendEach(spool, numbered(20))
  const first = await ingestProcess({ dir, holdAfterPublish: true })
  const uplink = await startUplink(spool, first.port)
  await until(() => first.lines.includes('published'))
  expect(uplink.stats().ackedRecords).toBe(0)
  await first.child.kill('SIGKILL')
  const second = await ingestProcess({ dir, port: first.port })
  await until(() => spool.stats().lanes.telemetry.records === 0)
  await second.child.kill('SIGKILL')
  const { copies, readings } = await tally(dir, 20)
  expect(readings).toEqual(inOrder(20))
  expect(copies).toBeGreaterThan(20)
})

test('a cloud killed again and again under load loses nothing', {
  timeout: 60_000,
}, async () => {
  const dir = await tempDir()
  const random = seededRandom(20_260_101)
  const spool = await startSpool(await tempDir())
  let ingest = await ingestProcess({ dir })
  const uplink = await startUplink(spool, ingest.port)
  let written = 0
  for (let kill = 0; kill < 5; kill++) {
    const killAt = performance.now() + 50 + random.fraction() * 250
    while (performance.now() < killAt) {
      await append(spool, numbered(20, written))
      written += 20
    }
    await ingest.child.kill('SIGKILL')
    ingest = await ingestProcess({ dir, port: ingest.port })
  }
  await until(() => spool.stats().lanes.telemetry.records === 0)
  expect(uplink.stats().reconnects).toBeGreaterThan(0)
  await ingest.child.kill('SIGKILL')
  const { readings } = await tally(dir, written)
  expect(readings.toSorted((a, b) => a - b)).toEqual(inOrder(written))
})

test('a frozen cloud is seen within seconds, and what it missed arrives when it thaws', async () => {
  const dir = await tempDir()
  const spool = await startSpool(await tempDir())
  const ingest = await ingestProcess({ dir })
  const uplink = await startUplink(spool, ingest.port)
  await append(spool, numbered(10))
  await until(() => uplink.stats().ackedRecords === 10)
  await ingest.child.kill('SIGSTOP')
  const frozenAt = performance.now()
  await append(spool, numbered(10, 10))
  await until(() => !uplink.stats().connected, { timeoutMs: 5_000 })
  expect(performance.now() - frozenAt).toBeLessThan(4_000)
  await ingest.child.kill('SIGCONT')
  await until(() => spool.stats().lanes.telemetry.records === 0)
  await ingest.child.kill('SIGKILL')
  const { readings } = await tally(dir, 20)
  expect(readings).toEqual(inOrder(20))
})

test('two gateways do not disturb each other, though one has a corrupt spool identity', async () => {
  const { port, bus, ingest } = await ingestCore({ dir: await tempDir() })
  const [one, two] = [await startSpool(await tempDir()), await startSpool(await tempDir())]
  await startUplink(one, port, { gatewayId: 'gw-1' })
  const other = await startUplink(two, port, { gatewayId: 'not/a/name' })
  await append(one, numbered(100))
  await append(two, numbered(100))
  await until(() => one.stats().lanes.telemetry.records === 0)
  await until(() => other.stats().lastError?.includes('hello.gateway_id'))
  const reader = await readTopics(bus, ['device-telemetry'])
  await until(() => reader.records.length === 100)
  expect(ingest.stats().streamsEnded['INVALID_ARGUMENT']).toBeGreaterThan(0)
})
