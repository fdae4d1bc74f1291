/**
 * The activity log of two cores on a real Kafka and a real PostgreSQL: programs of others write without end, over Kafka and
 * over REST, while poison comes, cores are killed -9, restarted with another config and stopped, and the database is away.
 * Every activity is stored once, in order within its user, and counted once; what is poison is a dead letter to the letter.
 */

import { rm } from 'node:fs/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { activityValue } from '../support/activity-values.ts'
import { ActivityWriter } from '../support/activity-writer.ts'
import { ChangeWriter } from '../support/change-writer.ts'
import { type CloudProcess, startCloud } from '../support/cloud-process.ts'
import { busbar } from '../support/command.ts'
import { type AnyJson, getJson, sendJson } from '../support/json-request.ts'
import { describeKafka, startKafka, type TestKafka } from '../support/kafka.ts'
import { type KcatRecord, readTopic } from '../support/kcat.ts'
import { KcatStream } from '../support/kcat-stream.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { describeWith } from '../support/real-parts.ts'
import { consecutive, type StoredActivities, storedActivities } from '../support/stored-activities.ts'
import { until } from '../support/until.ts'

const LOGS = 'user-activity-logs'
const DLQ = 'user-activity-logs-dlq'
const GROUP = 'user-activity-processor'
const HEADERS = { source: 'billing', timestamp: '2026-01-31T12:00:00Z' }
/** Three of Kafka, so that there is one on every partition; two of REST, one at each core. */
const USERS = ['ada', 'bea', 'cyd', 'dan', 'eve', 'fay']
const LATER_TYPE = 'switching_order_signed'
/** Both cores have it, as those of one system do. */
const KEY = Buffer.alloc(32, 7).toString('base64')
/** Twice as long as the group waits for a member that says nothing; as long as one likes by hand. */
const DATABASE_AWAY_MS = Number(process.env['DATABASE_AWAY_MS'] ?? 12_000)
const LONG = { timeoutMs: 90_000, pollMs: 100 }

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** What nobody can store, by what is wrong with it: the user, and the value as it is written. */
const POISON: Readonly<Record<string, readonly [string, string]>> = {
  'no JSON': ['ada', 'no JSON at all'],
  'a list': ['bea', '[1, 2]'],
  'a type that is not in the catalogue': ['cyd', JSON.stringify(poisoned('cyd', { activityType: LATER_TYPE }))],
  'no event id': ['dan', JSON.stringify({ ...poisoned('dan'), eventId: undefined })],
  'another version': ['eve', JSON.stringify(poisoned('eve', { version: '2.0' }))],
  'metadata that is no object': ['fay', JSON.stringify({ ...poisoned('fay'), metadata: 'none' })],
  // Digits that a double does not have, and white space, stay as they are.
  'a time that is none': ['ada', `{ "userId":"ada", "n": 12345678901234567890.10, "timestamp": "yesterday" }`],
}

function poisoned(userId: string, changes: Parameters<typeof activityValue>[2] = {}) {
  return activityValue(userId, 0, { eventId: `evt_poison_${userId}`, ...changes })
}

describeKafka('the activity log', () => {
  describeWith(['kcat'], 'while cores die, the database is away and poison comes', () => {
    let kafka: TestKafka
    let postgres: TestPostgres
    let databaseUrl: string
    let cores: CloudProcess[]
    let stream: KcatStream
    let changes: ChangeWriter
    let stored: StoredActivities
    let storedWhenKilled: number
    const writers: ActivityWriter[] = []
    /** By user, what was sent. */
    const sent = new Map<string, number>()

    /** @param before what runs no more, whose place it takes. */
    const start = (types: readonly string[], before?: CloudProcess): Promise<CloudProcess> => {
      const config = {
        kafka: { sessionTimeoutMs: 6_000 },
        database: { queryTimeoutMs: 2_000, connectTimeoutMs: 1_000 },
        consumers: { retryBaseMs: 100, retryCapMs: 500 },
        activity: { types, keys: KEY },
      }
      const place = before && { dir: before.dir, ingestPort: before.ingestPort, apiPort: before.apiPort }
      return startCloud({ kafkaBrokers: kafka.brokers, databaseUrl, config, ...place })
    }
    const core = (index: number): CloudProcess => cores[index] as CloudProcess
    /** As many more of every user of Kafka, and some of them a second time. */
    const produce = async (count: number): Promise<void> => {
      const records: { key: string; value: string }[] = []
      for (let i = 0; i < count; i++) {
        for (const key of USERS) {
          const n = (sent.get(key) ?? 0) + i
          const value = JSON.stringify(activityValue(key, n))
          records.push({ key, value })
          if (n % 50 === 0) records.push({ key, value })
        }
      }
      for (const key of USERS) sent.set(key, (sent.get(key) ?? 0) + count)
      await stream.write(records)
    }
    const letters = async (): Promise<KcatRecord[]> => {
      const records = await readTopic(kafka.brokers, DLQ)
      return records.length >= Object.keys(POISON).length ? records : []
    }

    beforeAll(async () => {
      const parts = await Promise.all([startKafka(), startPostgres()])
      kafka = parts[0]
      postgres = parts[1] as TestPostgres
      databaseUrl = await postgres.freshUrl()
      cores = [await start([]), await start([])]
      stored = await storedActivities(databaseUrl)
      stream = new KcatStream(kafka.brokers, LOGS, HEADERS)
      writers.push(
        new ActivityWriter('rob', () => core(0).apiUrl).start(),
        new ActivityWriter('sam', () => core(1).apiUrl).start(),
      )
      changes = new ChangeWriter(() => core(0).apiUrl).start()

      await produce(100)
      await stream.write(Object.values(POISON).map(([key, value]) => ({ key, value })))
      await produce(100)
      await until(async () => (await letters()).length > 0, { ...LONG, what: 'the poison is dead-lettered' })

      // One core goes in order and comes back knowing more; the other dies in the middle of thousands and does so too.
      await core(1).stop()
      cores[1] = await start([LATER_TYPE], core(1))
      const before = await stored.count()
      await produce(3_000)
      await stored.reaches(before + 1_000)
      await core(0).kill('SIGKILL')
      storedWhenKilled = await stored.count()
      await produce(200)
      cores[0] = await start([LATER_TYPE], core(0))
      await stored.reaches([...sent.values()].reduce((sum, count) => sum + count, 0))

      await postgres.kill()
      await produce(1_000)
      await pause(DATABASE_AWAY_MS)
      await postgres.restart()
      await produce(200)
      await core(1).kill('SIGKILL')
      await core(1).restart()
      await produce(200)
      await stream.close()
      await changes.finish()
      for (const writer of writers) {
        await writer.finish()
        sent.set(writer.userId, writer.sent)
      }
    }, 150_000)
    afterAll(async () => {
      stream?.kill()
      await stored?.close()
      for (const each of cores ?? []) {
        if (each.running) await each.kill('SIGKILL')
        await rm(each.dir, { recursive: true, force: true })
      }
      await kafka?.stop()
      await postgres?.stop()
    }, 60_000)

    it('every activity is stored once, in order within its user, and counted once', async () => {
      const total = [...sent.values()].reduce((sum, count) => sum + count, 0)
      await stored.reaches(total, 120_000).catch((error: unknown) => {
        throw new Error(`${error}\n${cores.map((each) => each.logs().slice(-3_000)).join('\n')}`)
      })
      const numbers = await stored.numbers()
      expect([...numbers.keys()].sort()).toEqual([...sent.keys()].sort())
      for (const [userId, count] of sent) expect(numbers.get(userId), userId).toEqual(consecutive(count))
      expect(await stored.windowed()).toEqual(sent)
      // It was killed while much was left.
      expect(storedWhenKilled).toBeLessThan(3_000 * USERS.length)
    }, 150_000)

    it('every change that was answered has one entry', async () => {
      const entries = await until(async () => {
        const found = await stored.requestsOf('create_site')
        return changes.answered.every((name) => found.includes(name)) ? found : null
      }, LONG)
      expect(new Set(entries).size).toBe(entries.length)
      expect(changes.answered.length).toBeGreaterThan(20)
    })

    it('each poison record is a dead letter that says where it stood and why, digit for digit', async () => {
      const records = await letters()
      // One may come twice, after a batch that another core had in hand.
      const places = records.map(({ headers }) => `${headers['originalPartition']}:${headers['originalOffset']}`)
      expect(new Set(places).size).toBe(Object.keys(POISON).length)
      const originals = await readTopic(kafka.brokers, LOGS)
      for (const [what, [userId, value]] of Object.entries(POISON)) {
        const original = originals.find((each) => each.key === userId && each.payload === value) as KcatRecord
        const position = { originalPartition: String(original.partition), originalOffset: String(original.offset) }
        const letter = records.find(({ headers }) => same(headers, position)) as KcatRecord
        expect(letter, what).toMatchObject({ key: userId, partition: original.partition })
        expect(letter.headers, what).toEqual({
          source: GROUP,
          timestamp: HEADERS.timestamp,
          originalTopic: LOGS,
          originalSource: HEADERS.source,
          ...position,
        })
        const { error, ...rest } = JSON.parse(letter.payload)
        expect(error, what).toEqual({
          code: 'VALIDATION_ERROR',
          message: expect.any(String),
          timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
          retryCount: 0,
        })
        const text = JSON.stringify(error)
        if (value.startsWith('{')) expect(letter.payload, what).toBe(`${value.slice(0, -1)},"error":${text}}`)
        else expect(rest, what).toEqual({ raw: Buffer.from(value).toString('base64') })
      }
    })

    it('a dead letter whose type is known by now is replayed as who wrote it', async () => {
      const found = await until(async () => {
        const { body } = await getJson(`${core(0).apiUrl}/api/v1/dead-letters?topic=${LOGS}&key=cyd`)
        return body.items[0]
      }, LONG)
      expect(found).toMatchObject({
        code: 'VALIDATION_ERROR',
        source: GROUP,
        message: expect.stringContaining('/activityType'),
      })
      const answer = await sendJson(`${core(0).apiUrl}/api/v1/dead-letters/replay`, 'POST', { ids: [found.id] })
      expect(answer).toMatchObject({ status: 200, body: { results: [{ outcome: 'REPLAYED' }] } })
      const row = await until(() => stored.row('evt_poison_cyd'), LONG)
      expect(row).toMatchObject({ user_id: 'cyd', activity_type: LATER_TYPE, source: HEADERS.source })
    })

    it('a change over REST is there for whoever looks for its request, and its address is not readable at rest', async () => {
      const rule = { name: 'hot', field: 't', comparison: 'GTE', threshold: 9, severity: 'CRITICAL' }
      const request = { 'x-request-id': 'request-17', 'user-agent': 'check/1.0' }
      const made = await sendJson(`${core(0).apiUrl}/api/v1/alert-rules`, 'POST', rule, request)
      expect(made.status).toBe(201)
      const entry: AnyJson = await until(async () => {
        const { body } = await getJson(`${core(1).apiUrl}/api/v1/activities?correlationId=request-17`)
        return body.items[0]
      }, LONG)
      expect(entry).toMatchObject({
        userId: 'local',
        activityType: 'create_alert_rule',
        outcome: 'SUCCESS',
        objectType: 'alert-rule',
        objectId: made.body.id,
        correlationId: 'request-17',
        metadata: { ipAddress: '127.0.0.1', userAgent: 'check/1.0', method: 'POST', path: '/api/v1/alert-rules' },
      })
      const row = JSON.stringify(await stored.row(entry.eventId))
      expect(row).toContain('/api/v1/alert-rules')
      expect(row).not.toContain('check/1.0')
      await until(async () => (await stored.outboxRowsWith('check/1.0')) === 0, { what: 'nothing of it is left plain' })
      const [published] = (await readTopic(kafka.brokers, LOGS)).filter(({ payload }) =>
        payload.includes(entry.eventId),
      )
      expect(published).toMatchObject({ key: 'local', headers: { timestamp: entry.timestamp } })
      expect(Object.keys(JSON.parse(published?.payload ?? '')).slice(0, 6)).toEqual(Object.keys(activityValue('', 0)))
    })

    it('the chain of what came through all this verifies', async () => {
      const result = await busbar('cloud', ['activity', 'verify', '--config', core(0).configPath, '--json'])
      expect(result, result.stderr).toMatchObject({ code: 0 })
    })
  })
})

function same(headers: Readonly<Record<string, string>>, wanted: Readonly<Record<string, string>>): boolean {
  return Object.entries(wanted).every(([name, value]) => headers[name] === value)
}
