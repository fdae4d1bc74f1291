/**
 * Topics in Avro, with a real Kafka, a real registry, and a program in Python that has nothing of ours but the schemas: what
 * it reads and writes, JSON and Avro on one topic, and a registry that is killed and comes back.
 */

import { readFileSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect, type MqttClient } from 'mqtt'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { TOPIC_SCHEMAS } from '../../proto/generated/avro/topic-schemas.ts'
import { activityValue } from '../support/activity-values.ts'
import { type AvroPeer, type PeerSchema, startAvroPeer } from '../support/avro-peer.ts'
import { projectDir } from '../support/child.ts'
import { type CloudProcess, startCloud } from '../support/cloud-process.ts'
import { type EdgeProcess, startEdge } from '../support/edge-process.ts'
import { type AnyJson, getJson, sendJson } from '../support/json-request.ts'
import { describeKafka, startKafka, type TestKafka } from '../support/kafka.ts'
import { describePython } from '../support/python.ts'
import { pythonEnvironment } from '../support/python-environment.ts'
import { describeRegistry, startRegistry, type TestRegistry } from '../support/schema-registry.ts'
import { until } from '../support/until.ts'

const METER = 'MTR-001'
const BASE = `sites/1/devices/${METER}`
const LOGS = 'user-activity-logs'
const ANALYTICS = 'user-activity-analytics'
const IN_AVRO = ['device-telemetry', 'task.requested', 'orchestrator.responses', 'command.events', LOGS, ANALYTICS]
const REQUESTED = 'task.requested'
const SUBJECT = `${REQUESTED}-value`
const UNKNOWN_ID = 987_654
const SCHEMA_PATH = join(projectDir, 'proto/avro/task_requested_v1.avsc')
const READING = JSON.stringify({
  powerKw: 45.25,
  count: 9_007_199_254_740_991,
  ok: true,
  text: 'Zähler €',
  none: null,
  phases: [1, { u: 230.5 }],
  nested: { a: { b: null } },
  timestamp: '2026-01-31T12:00:00Z',
})

describeKafka('topics in Avro', () => {
  describeRegistry('with a real registry', () => {
    describePython('and a program in Python', (python3) => {
      let kafka: TestKafka
      let registry: TestRegistry
      let cloud: CloudProcess
      let edge: EdgeProcess
      let meter: MqttClient
      let peer: AvroPeer
      let published: PeerSchema
      let later: PeerSchema

      /** @param before what runs no more, whose place it takes. */
      const startCore = (topics: readonly string[], before?: CloudProcess): Promise<CloudProcess> => {
        const schemaRegistry = { url: registry.url }
        const encoding = Object.fromEntries(topics.map((topic) => [topic, 'avro']))
        return startCloud({
          kafkaBrokers: kafka.brokers,
          config: { kafka: { schemaRegistry, encoding } },
          ...(before === undefined ? {} : { dir: before.dir, ingestPort: before.ingestPort, apiPort: before.apiPort }),
        })
      }
      /** The published schema with one field more. */
      const withField = async (name: string, into = later?.path ?? SCHEMA_PATH): Promise<PeerSchema> => {
        const schema = JSON.parse(readFileSync(into, 'utf8'))
        schema.fields.unshift({ name, type: ['null', 'string'], default: null })
        const path = join(cloud.dir, `${name}.avsc`)
        await writeFile(path, JSON.stringify(schema))
        return peer.schema(SUBJECT, path)
      }
      const task = (profile: string): AnyJson => ({
        command_type: 'CALIBRATE',
        command_params: JSON.stringify({ profile: profile, days: [1, 2.5] }),
        device_ids: [METER],
        requested_by: 'userB',
      })
      const taskIs = (taskId: string, state: string): Promise<AnyJson> => {
        const look = async (): Promise<AnyJson> => {
          const { body } = await getJson(`${cloud.apiUrl}/api/v1/tasks/${taskId}`)
          return body.state === state ? body : null
        }
        return until(look, { what: `task ${taskId} is ${state}`, pollMs: 50 }).catch((error: unknown) => {
          throw new Error(`${error}\n${cloud.logs().slice(-3000)}`)
        })
      }
      const healthTellsOfRegistry = (): Promise<unknown> =>
        until(async () => /registry/i.test(await (await fetch(`${cloud.apiUrl}/health/ready`)).text()), {
          what: 'health tells of the registry',
          pollMs: 50,
        })

      beforeAll(async () => {
        const parts = await Promise.all([startKafka(), startRegistry(), pythonEnvironment(python3)])
        const python = parts[2]
        ;[kafka, registry] = parts
        cloud = await startCore(IN_AVRO)
        edge = await startEdge({ uplinkPort: cloud.ingestPort, devices: [{ siteId: 1, serialNumber: METER }] })
        meter = connect({ port: edge.mqttPort, host: '127.0.0.1', clientId: METER, ...edge.logins.get(METER) })
        meter.on('message', (_topic, payload) => {
          const { commandId, params } = JSON.parse(payload.toString())
          const answer = { commandId, status: 'SUCCESS', payload: { got: params ?? null, codes: [0] } }
          void meter.publishAsync(`${BASE}/responses`, JSON.stringify(answer), { qos: 1 })
        })
        await meter.subscribeAsync(`${BASE}/commands`, { qos: 1 })
        await meter.publishAsync(`${BASE}/telemetry`, READING, { qos: 1 })
        await until(async () => (await getJson(`${cloud.apiUrl}/api/v1/devices`)).body.items.length === 1, {
          what: 'the device is known',
        })
        const topics = [...IN_AVRO, `${REQUESTED}-dlt`, `${LOGS}-dlq`]
        peer = startAvroPeer({ python, brokers: kafka.brokers, registry, topics })
        published = await peer.schema(SUBJECT, SCHEMA_PATH)
        later = await withField('ticket')
      })
      afterAll(async () => {
        await meter?.endAsync(true)
        await peer?.stop()
        await edge?.stop()
        await cloud?.stop()
        await registry?.stop()
        await kafka?.stop()
        for (const dir of [edge?.dir, cloud?.dir])
          if (dir !== undefined) await rm(dir, { recursive: true, force: true })
      })

      it('the registry takes every schema, and no change that proto/README.md forbids', async () => {
        for (const [topic, schema] of Object.entries(TOPIC_SCHEMAS)) {
          const subject = `${topic}-value`
          await registry.register(subject, schema)
          const { fields, ...rest } = JSON.parse(schema)
          const isAllowed = (field: object): Promise<boolean> =>
            registry.isCompatible(subject, JSON.stringify({ ...rest, fields: [...fields, field] }))
          expect(await isAllowed({ name: 'x', type: 'long' })).toBe(false)
          expect(await isAllowed({ name: 'x', type: ['null', 'long'], default: null })).toBe(true)
        }
      })

      it('fastavro decodes what the core publishes', async () => {
        const reading = await peer.record('device-telemetry', ({ key }) => key === METER)
        expect(reading).toMatchObject({ encoding: 'avro', value: { serialNumber: METER, siteId: 1 } })
        expect(reading.value).toMatchObject({ timestamp: '2026-01-31T12:00:00.000Z', eventType: 'DEVICE_TELEMETRY' })
        expect(reading.value.telemetryData).toEqual({
          powerKw: 45.25,
          count: 9_007_199_254_740_991,
          ok: true,
          text: 'Zähler €',
          none: null,
          phases: { json: '[1,{"u":230.5}]' },
          nested: { json: '{"a":{"b":null}}' },
        })
        const command = { device_id: METER, name: 'reboot', payload: { force: true } }
        const { id } = (await sendJson(`${cloud.apiUrl}/api/v1/commands`, 'POST', command)).body
        const event = await peer.record('command.events', ({ key }) => key === id)
        expect(event).toMatchObject({ encoding: 'avro', value: { id, name: 'reboot', payload: '{"force":true}' } })
      })

      it('what a program asks for in Avro is executed and answered in Avro, also by a later schema', async () => {
        const taskId = '689dce4358cba50614cee001'
        const options = { timeout_ms: 15_000, retries: { max: 2, on: ['FAILED'] } }
        await peer.produce(REQUESTED, taskId, { ...task('A'), options }, published)
        expect(await taskIs(taskId, 'COMPLETED')).toMatchObject({
          source: 'topic',
          command_params: { profile: 'A', days: [1, 2.5] },
          options: { timeout_ms: 15_000, retries: { max: 2, on: ['FAILED'] } },
          tally: { SUCCEEDED: 1 },
        })
        const response = await peer.record('orchestrator.responses', ({ value }) => value.taskId === taskId)
        expect(response).toMatchObject({ encoding: 'avro', key: METER, value: { status: 'SUCCESS', attempt: 1 } })
        const got = { profile: 'A', days: [1, 2.5] }
        expect(JSON.parse(response.value.responsePayload)).toEqual({ got, codes: [0] })

        const laterTask = '689dce4358cba50614cee002'
        await peer.produce(REQUESTED, laterTask, { ticket: 'T-1', ...task('B') }, later)
        expect((await taskIs(laterTask, 'COMPLETED')).tally).toMatchObject({ SUCCEEDED: 1 })
      })

      it('JSON and Avro stand side by side on one topic', async () => {
        const ids = [1, 2, 3, 4].map((n) => `689dce4358cba50614cee10${n}`)
        for (const [n, taskId] of ids.entries()) {
          if (n % 2 === 0) await peer.produce(REQUESTED, taskId, task('AVRO'), published)
          else await peer.produce(REQUESTED, taskId, { ...task(''), command_params: { profile: 'JSON' } })
        }
        const profiles = []
        for (const taskId of ids) profiles.push((await taskIs(taskId, 'COMPLETED')).command_params.profile)
        expect(profiles).toEqual(['AVRO', 'JSON', 'AVRO', 'JSON'])

        // The core's own requests are in Avro.
        const own = { command_type: 'CALIBRATE', command_params: [1], device_ids: [METER], requested_by: 'userA' }
        const { taskId } = (await sendJson(`${cloud.apiUrl}/api/v1/tasks`, 'POST', own)).body
        expect(await peer.record(REQUESTED, ({ key }) => key === taskId)).toMatchObject({
          encoding: 'avro',
          value: { command_type: 'CALIBRATE', command_params: '[1]', device_ids: [METER], site_id: 1 },
        })
        expect((await taskIs(taskId, 'COMPLETED')).tally).toMatchObject({ SUCCEEDED: 1 })
      })

      it('who did what is stored from Avro and from JSON, and fastavro reads what the core writes of it', async () => {
        const path = join(cloud.dir, 'user-activity.avsc')
        await writeFile(path, TOPIC_SCHEMAS[LOGS] ?? '')
        const schema = await peer.schema(`${LOGS}-value`, path)
        const headers = { source: 'billing', timestamp: '2026-01-31T12:00:00Z' }
        const [inAvro, inJson] = [activityValue('ada', 0), activityValue('ada', 1)]
        const metadata = { ...inAvro.metadata, share: 0.5, rooms: { json: '["A",{"b":null}]' } }
        await peer.produce(LOGS, 'ada', { ...inAvro, metadata }, schema, headers)
        await peer.produce(LOGS, 'ada', inJson, undefined, headers)
        const items: AnyJson[] = await until(
          async () => {
            const { body } = await getJson(`${cloud.apiUrl}/api/v1/activities?userId=ada`)
            return body.items.length === 2 ? body.items : null
          },
          { what: 'both are stored', pollMs: 50 },
        )
        const metadataOf = (eventId: string): AnyJson => items.find((each) => each.eventId === eventId)?.metadata
        expect(metadataOf(inAvro.eventId)).toEqual({ ...metadata, rooms: ['A', { b: null }] })
        expect(metadataOf(inJson.eventId)).toEqual(inJson.metadata)

        const activity = { userId: 'rob', activityType: 'login', metadata: { ipAddress: '10.1.2.3', n: 7 } }
        const [eventId] = (await sendJson(`${cloud.apiUrl}/api/v1/activities`, 'POST', activity)).body.eventIds
        const published = await peer.record(LOGS, ({ value }) => value.eventId === eventId)
        expect(published).toMatchObject({ encoding: 'avro', key: 'rob', value: { ...activity, version: '1.0' } })
        expect(published.headers).toMatchObject({ source: expect.any(String), timestamp: published.value.timestamp })
        const seen = await peer.record(ANALYTICS, ({ value }) => value.eventId === eventId)
        expect(seen).toMatchObject({ encoding: 'avro', key: 'rob', value: { kind: 'ACTIVITY', activityType: 'login' } })
        expect(JSON.stringify(seen)).not.toContain('10.1.2.3')

        const unknown = activityValue('ada', 2, { activityType: 'nobody_knows' })
        await peer.produce(LOGS, 'ada', unknown, schema, headers)
        const letter = await peer.record(`${LOGS}-dlq`, ({ value }) => value.eventId === unknown.eventId)
        expect(letter).toMatchObject({ encoding: 'json', key: 'ada', headers: { originalSource: headers.source } })
        expect(letter.value).toEqual({ ...unknown, error: expect.objectContaining({ code: 'VALIDATION_ERROR' }) })
      })

      it('what the registry does not know, and what is not as its schema says, is a dead letter as it came', async () => {
        const unknown = '689dce4358cba50614cee201'
        await peer.produce(REQUESTED, unknown, task('X'), { ...published, id: UNKNOWN_ID })
        const { value } = await peer.record(`${REQUESTED}-dlt`, ({ key }) => key === unknown)
        const raw = Buffer.from(value.raw, 'base64')
        expect([raw[0], raw.readUInt32BE(1)]).toEqual([0, UNKNOWN_ID])
        expect(raw.subarray(5).toString()).toContain('CALIBRATE')
        expect(value.error).toMatchObject({ code: 'NOT_JSON' })

        const other = '689dce4358cba50614cee202'
        const telemetryId = await registry.register('device-telemetry-value', TOPIC_SCHEMAS['device-telemetry'] ?? '')
        await peer.produce(REQUESTED, other, task('X'), { ...published, id: telemetryId })
        await peer.record(`${REQUESTED}-dlt`, ({ key }) => key === other)
      })

      it('without its registry a core goes on with what it knows, waits for what it does not, and loses nothing', async () => {
        const newest = await withField('reference')
        await registry.kill()
        const known = '689dce4358cba50614cee301'
        await peer.produce(REQUESTED, known, task('KNOWN'), later)
        expect((await taskIs(known, 'COMPLETED')).tally).toMatchObject({ SUCCEEDED: 1 })
        const isOf = (taskId: string) => (each: { value: AnyJson }) => each.value.taskId === taskId
        const answered = await peer.record('orchestrator.responses', isOf(known))
        expect(answered.encoding).toBe('avro')

        const waiting = '689dce4358cba50614cee302'
        await peer.produce(REQUESTED, waiting, task('WAITS'), newest)
        await healthTellsOfRegistry()
        await cloud.stop()
        // Back to JSON on most topics, which are read in both all the same.
        cloud = await startCore(['command.events'], cloud)
        const command = { device_id: METER, name: 'reboot', payload: null }
        const { id } = (await sendJson(`${cloud.apiUrl}/api/v1/commands`, 'POST', command)).body
        await healthTellsOfRegistry()
        expect((await getJson(`${cloud.apiUrl}/api/v1/tasks/${waiting}`)).status).toBe(404)

        await registry.restart()
        expect((await taskIs(waiting, 'COMPLETED')).tally).toMatchObject({ SUCCEEDED: 1 })
        const event = await peer.record('command.events', ({ key }) => key === id)
        expect(event).toMatchObject({ encoding: 'avro', value: { payload: null } })
        expect((await peer.record('orchestrator.responses', isOf(waiting))).encoding).toBe('json')
        expect(peer.seen.filter(({ topic, key }) => topic === `${REQUESTED}-dlt` && key === waiting)).toEqual([])
      })
    })
  })
})
