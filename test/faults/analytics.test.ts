/**
 * Readings, alerts and notifications of two cores on a real Kafka and a real PostgreSQL, while cores are killed -9, the
 * database is away and poison is on the topic: everything that was acknowledged to a device is in the database once, is
 * counted once in the roll-ups, and opens one alert that one person is told of once.
 */

import { rm } from 'node:fs/promises'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type CloudProcess, startCloud } from '../support/cloud-process.ts'
import { type EdgeProcess, startEdge } from '../support/edge-process.ts'
import { JournalDevice } from '../support/journal-device.ts'
import { getJson, sendJson } from '../support/json-request.ts'
import { describeKafka, startKafka, type TestKafka } from '../support/kafka.ts'
import { readTopic } from '../support/kcat.ts'
import { produceRecord } from '../support/kcat-produce.ts'
import { type Link, openLink } from '../support/link.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { describeWith } from '../support/real-parts.ts'
import { until } from '../support/until.ts'

const SERIALS = ['INV-001', 'INV-002', 'INV-003', 'INV-004']
/** Longer than a statement may take below, so that statements fail rather than wait. */
const DATABASE_AWAY_MS = 6_000
/** The reading of each device that opens its alert: sent while the database is away. */
const ALARM_FROM = 400

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

describeKafka('analytics', () => {
  describeWith(['kcat'], 'while cores die, the database is away and poison comes', () => {
    let kafka: TestKafka
    let postgres: TestPostgres
    let cores: CloudProcess[]
    let link: Link
    let edge: EdgeProcess
    let sql: Client
    const devices: JournalDevice[] = []
    const acknowledged = new Map<string, number>()

    const numbersOf = async (text: string): Promise<Map<string, number>> => {
      const { rows } = await sql.query<{ serial_number: string; count: string }>(text)
      return new Map(rows.map((row) => [row.serial_number, Number(row.count)]))
    }
    const api = (): string => (cores[1] as CloudProcess).apiUrl

    beforeAll(async () => {
      kafka = await startKafka()
      postgres = (await startPostgres()) as TestPostgres
      const databaseUrl = await postgres.freshUrl()
      const config = {
        kafka: { sessionTimeoutMs: 6_000 },
        database: { queryTimeoutMs: 2_000, connectTimeoutMs: 1_000 },
        telemetry: { rollUpDelayMs: 500 },
        consumers: { deviceRetries: 1, retryBaseMs: 100, retryCapMs: 500 },
      }
      const backends = { kafkaBrokers: kafka.brokers, databaseUrl, config }
      cores = [await startCloud(backends), await startCloud(backends)]
      const { status } = await sendJson(`${api()}/api/v1/alert-rules`, 'POST', {
        name: 'numbers run high',
        field: 'n',
        comparison: 'GTE',
        threshold: ALARM_FROM,
        severity: 'CRITICAL',
        recipients: { userIds: ['operator-1'] },
      })
      expect(status).toBe(201)
      link = await openLink({ targets: cores.map(({ ingestPort }) => ({ port: ingestPort })) })
      edge = await startEdge({
        uplinkPort: link.port,
        devices: SERIALS.map((serialNumber) => ({ siteId: 1, serialNumber })),
      })
      for (const serialNumber of SERIALS) {
        const login = edge.logins.get(serialNumber)
        devices.push(
          new JournalDevice({ port: edge.mqttPort, siteId: 1, serialNumber, intervalMs: 4, ...login }).start(),
        )
      }

      await pause(1_000)
      await produceRecord(kafka.brokers, 'device-telemetry', { key: 'INV-001', value: 'no JSON at all' })
      const [killed] = cores as [CloudProcess]
      await killed.kill('SIGKILL')
      await pause(500)
      await killed.restart()
      await postgres.kill()
      await until(() => devices.every(({ acknowledged }) => acknowledged > ALARM_FROM + 100), { timeoutMs: 30_000 })
      await pause(DATABASE_AWAY_MS)
      await postgres.restart()
      await pause(2_000)
      await killed.kill('SIGKILL')
      await killed.restart()
      for (const device of devices) device.finish()
      await until(() => devices.every((device) => device.settled), { timeoutMs: 60_000, what: 'all is acknowledged' })
      for (const device of devices) acknowledged.set(device.serialNumber, device.acknowledged)
      sql = new Client({ connectionString: databaseUrl })
      await sql.connect()
    }, 240_000)
    afterAll(async () => {
      for (const device of devices) device.close()
      await sql?.end()
      await edge?.kill('SIGKILL')
      await link?.close()
      for (const core of cores ?? []) if (core.running) await core.kill('SIGKILL')
      await kafka?.stop()
      await postgres?.stop()
      for (const { dir } of [edge, ...(cores ?? [])]) await rm(dir, { recursive: true, force: true })
    }, 60_000)

    it('every acknowledged reading is stored, once', async () => {
      const stored = `select serial_number, count(*) from readings join devices on id = device_id group by 1`
      await until(async () => total(await numbersOf(stored)) >= total(acknowledged), {
        timeoutMs: 90_000,
        pollMs: 250,
        what: 'all readings are stored',
      })
      expect(await numbersOf(stored)).toEqual(acknowledged)
      const distinct = `select serial_number, count(distinct fields) from readings join devices on id = device_id group by 1`
      expect(await numbersOf(distinct)).toEqual(acknowledged)
    })

    it('every reading is counted once in every roll-up', async () => {
      await until(async () => Number((await sql.query('select count(*) from rollup_deltas')).rows[0].count) === 0, {
        timeoutMs: 30_000,
        pollMs: 100,
        what: 'all is rolled up',
      })
      for (const table of ['rollups_1m', 'rollups_15m', 'rollups_1h', 'rollups_1d']) {
        const records = `select serial_number, sum(records) as count from ${table} join devices on id = device_id group by 1`
        expect(await numbersOf(records)).toEqual(acknowledged)
        const sums = await sql.query(
          `select serial_number, sum((cast(fields as json) -> 'n' ->> 3)::numeric) as sum, max((cast(fields as json) -> 'n' ->> 2)::numeric) as max
           from ${table} join devices on id = device_id group by 1`,
        )
        for (const { serial_number, sum, max } of sums.rows) {
          const count = acknowledged.get(serial_number) as number
          expect({ table, sum: Number(sum), max: Number(max) }).toEqual({
            table,
            sum: (count * (count - 1)) / 2,
            max: count - 1,
          })
        }
      }
    })

    it('each device has one alert, and one person is told of it once, in the database and on the topic', async () => {
      await until(
        async () => (await getJson(`${api()}/api/v1/alerts?state=OPEN`)).body.items.length === SERIALS.length,
        {
          timeoutMs: 60_000,
          pollMs: 250,
          what: 'the alerts are open',
        },
      )
      const { body } = await getJson(`${api()}/api/v1/alerts`)
      expect(body.items.map(({ serialNumber }: { serialNumber: string }) => serialNumber).sort()).toEqual(SERIALS)
      const list = await getJson(`${api()}/api/v1/users/operator-1/notifications?limit=100`)
      const told = list.body.items.filter(({ type }: { type: string }) => type === 'TELEMETRY_ALERT')
      expect(told.map(({ relatedEntityId }: { relatedEntityId: string }) => relatedEntityId).sort()).toEqual(
        body.items.map(({ id }: { id: string }) => id).sort(),
      )
      const published = await until(
        async () => {
          const records = await readTopic(kafka.brokers, 'notifications')
          return records.length >= SERIALS.length ? records : null
        },
        { pollMs: 250, what: 'the notifications are published' },
      )
      expect(new Set(published.map(({ payload }) => JSON.parse(payload).id)).size).toBe(SERIALS.length)
      expect(new Set(published.map(({ key }) => key))).toEqual(new Set(['operator-1']))
    })

    it('the poison is listed with its reason', async () => {
      const letters = await until(
        async () => {
          const { body } = await getJson(`${api()}/api/v1/dead-letters?topic=device-telemetry`)
          return body.items.length > 0 ? body.items : null
        },
        { timeoutMs: 60_000, pollMs: 250, what: 'the dead letters are listed' },
      )
      expect(letters[0]).toMatchObject({ source: 'analytics-service', code: 'RECORD_UNUSABLE', key: 'INV-001' })
    })
  })
})

function total(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0)
}
