/**
 * From an API call to the meter and back, with the compiled programs and clients that nobody here wrote: mosquitto_sub is
 * the meter that receives, mosquitto_pub the one that answers, kcat reads the topics and produces tasks of its own.
 */

import { rm } from 'node:fs/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Binaries, buildBinaries, withoutNodeModules } from '../support/binaries.ts'
import { type Child, startChild } from '../support/child.ts'
import { type CloudProcess, startCloud } from '../support/cloud-process.ts'
import { type EdgeProcess, startEdge } from '../support/edge-process.ts'
import { type AnyJson, getJson, sendJson } from '../support/json-request.ts'
import { describeKafka, startKafka, type TestKafka } from '../support/kafka.ts'
import { type KcatRecord, readTopic } from '../support/kcat.ts'
import { produceRecord } from '../support/kcat-produce.ts'
import { describeWith } from '../support/real-parts.ts'
import { until } from '../support/until.ts'

const METER = 'MTR-001'
const BASE = `sites/1/devices/${METER}`
const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$/

describeKafka('commands', () => {
  describeWith(['mosquitto_pub', 'mosquitto_sub', 'kcat'], 'with compiled programs', (programs) => {
    let binaries: Binaries
    let kafka: TestKafka
    let cloud: CloudProcess
    let edge: EdgeProcess
    let meter: Child
    const received: AnyJson[] = []

    const asMeter = (clientId: string): string[] => {
      const login = edge.logins.get(METER)
      return [
        ...['-h', '127.0.0.1', '-p', String(edge.mqttPort), '-i', clientId],
        ...['-u', login?.username ?? '', '-P', login?.password ?? ''],
      ]
    }
    const publish = async (channel: string, message: AnyJson): Promise<void> => {
      const child = startChild({
        command: [
          programs.mosquitto_pub,
          ...asMeter(`${METER}-out`),
          ...['-q', '1', '-t', `${BASE}/${channel}`, '-m', JSON.stringify(message)],
        ],
      })
      expect({ ...(await child.exited), output: child.output() }).toMatchObject({ code: 0 })
    }
    const commandNumber = (count: number): Promise<AnyJson> =>
      until(() => received.length >= count && received[count - 1], { what: `command ${count} reached the meter` })
    const records = (topic: string, matching: (record: KcatRecord) => boolean): Promise<KcatRecord> =>
      until(async () => (await readTopic(kafka.brokers, topic)).find(matching) ?? null, {
        what: `a record on ${topic}`,
        pollMs: 200,
      })
    const resource = (path: string, holds: (body: AnyJson) => boolean): Promise<AnyJson> =>
      until(
        async () => {
          const { body } = await getJson(`${cloud.apiUrl}${path}`)
          return holds(body) ? body : null
        },
        { what: `${path} is as expected`, pollMs: 50 },
      )

    beforeAll(async () => {
      binaries = await buildBinaries()
      kafka = await startKafka()
      cloud = await startCloud({ binary: binaries.cloud, wrapper: withoutNodeModules, kafkaBrokers: kafka.brokers })
      edge = await startEdge({
        binary: binaries.edge,
        wrapper: withoutNodeModules,
        uplinkPort: cloud.ingestPort,
        devices: [{ siteId: 1, serialNumber: METER }],
      })
      await publish('telemetry', { energyKwh: 1 })
      await resource('/api/v1/devices', ({ items }) => items.length === 1)
      meter = startChild({
        command: [programs.mosquitto_sub, ...asMeter(METER), '-q', '2', '-t', `${BASE}/commands`],
        onLine: (line) => received.push(JSON.parse(line)),
      })
      await until(async () => (await edge.status()).broker.connections >= 1, { what: 'the meter is connected' })
    })
    afterAll(async () => {
      await meter?.kill('SIGKILL')
      await edge?.stop()
      await cloud?.stop()
      await kafka?.stop()
      await binaries?.remove()
      for (const dir of [edge?.dir, cloud?.dir]) if (dir !== undefined) await rm(dir, { recursive: true, force: true })
    })

    it('a single command is on command.events, reaches the meter, and its answer is in the API', async () => {
      const answer = await sendJson(`${cloud.apiUrl}/api/v1/commands`, 'POST', {
        device_id: METER,
        name: 'reboot',
        payload: { force: true },
      })
      expect(answer.status).toBe(201)
      const { id } = answer.body
      expect(id).toMatch(/^cmd-[0-9a-f]{8}$/)
      expect(answer.body).toMatchObject({
        device_id: METER,
        name: 'reboot',
        payload: { force: true },
        status: 'pending',
      })

      const event = await records('command.events', ({ key }) => key === id)
      expect(JSON.parse(event.payload)).toEqual({
        type: 'command.created',
        id,
        device_id: METER,
        name: 'reboot',
        payload: { force: true },
        created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00$/),
      })
      await resource(`/api/v1/commands/${id}`, ({ status, sent_at }) => status === 'sent' && RFC_3339.test(sent_at))

      const command = await commandNumber(1)
      expect(command).toEqual({
        commandId: id,
        name: 'reboot',
        params: { force: true },
        issuedAt: expect.stringMatching(RFC_3339),
        expiresAt: expect.stringMatching(RFC_3339),
      })
      await resource(`/api/v1/commands/${id}`, ({ delivery }) => delivery.state === 'DELIVERED')
      await publish('responses', { commandId: id, status: 'SUCCESS', payload: { uptime: 3 } })
      const done = await resource(`/api/v1/commands/${id}`, ({ delivery }) => delivery.state === 'SUCCEEDED')
      expect(done.delivery.response).toEqual({ uptime: 3 })
    })

    it('a task that another program put on task.requested is executed, and answered on orchestrator.responses', async () => {
      const taskId = '689dce4358cba50614cee678'
      const value = {
        command_type: 'SET_TOU',
        command_params: { tou_profile_id: 'TOU-2025-TEST' },
        device_ids: [METER, 'MTR-NOBODY'],
        requested_by: 'userB',
      }
      await produceRecord(kafka.brokers, 'task.requested', { key: taskId, value: JSON.stringify(value) })
      const command = await commandNumber(2)
      expect(command).toMatchObject({ taskId, name: 'SET_TOU', params: { tou_profile_id: 'TOU-2025-TEST' } })
      await publish('responses', {
        commandId: command.commandId,
        status: 'SUCCESS',
        payload: { dlmsResultCode: 0, deviceTime: '2025-05-08T02:00:59Z' },
      })
      const response = await records('orchestrator.responses', ({ key }) => key === METER)
      expect(JSON.parse(response.payload)).toMatchObject({
        taskId,
        command_id: command.commandId,
        deviceId: METER,
        status: 'SUCCESS',
        receivedAt: expect.stringMatching(RFC_3339),
        responsePayload: { dlmsResultCode: 0, deviceTime: '2025-05-08T02:00:59Z' },
      })
      const unknown = await records('orchestrator.responses', ({ key }) => key === 'MTR-NOBODY')
      expect(JSON.parse(unknown.payload)).toMatchObject({ taskId, deviceId: 'MTR-NOBODY', status: 'REJECTED' })
      const task = await resource(`/api/v1/tasks/${taskId}`, ({ state }) => state === 'COMPLETED')
      expect(task).toMatchObject({ source: 'topic', requested_by: 'userB', tally: { SUCCEEDED: 1, REJECTED: 1 } })
    })

    it('poison on both topics ends in -dlt, and what follows it is executed', async () => {
      for (const topic of ['task.requested', 'orchestrator.responses']) {
        for (const value of ['not json', '[]', '{"command_type":"SET_TOU","device_ids":[]}']) {
          await produceRecord(kafka.brokers, topic, { key: '689dce4358cba50614cee000', value })
        }
        await until(async () => (await readTopic(kafka.brokers, `${topic}-dlt`)).length === 3, {
          what: `three dead letters of ${topic}`,
          pollMs: 200,
        })
      }
      const [letter] = await readTopic(kafka.brokers, 'task.requested-dlt')
      expect(JSON.parse(letter?.payload ?? '').error).toMatchObject({ code: expect.any(String), retryCount: 0 })
      const answer = await sendJson(`${cloud.apiUrl}/api/v1/tasks`, 'POST', {
        command_type: 'READ_REGISTERS',
        command_params: { registers: ['1.0.1.8.0.255'] },
        device_ids: [METER],
        requested_by: 'operator-1',
      })
      expect(answer.status).toBe(202)
      const { taskId } = answer.body
      expect(taskId).toMatch(/^[0-9a-f]{24}$/)
      const command = await commandNumber(3)
      await publish('responses', { commandId: command.commandId, status: 'FAILED', payload: { dlmsResultCode: 3 } })
      const task = await resource(`/api/v1/tasks/${taskId}`, ({ state }) => state === 'COMPLETED')
      expect(task.tally).toMatchObject({ FAILED: 1 })
    })

    it('an answer to no command is a dead letter with its reason', async () => {
      await publish('responses', { commandId: 'cmd-00000000', status: 'SUCCESS' })
      const letter = await records('orchestrator.responses-dlt', ({ payload }) => payload.includes('cmd-00000000'))
      expect(JSON.parse(letter.payload).error.code).toBe('NO_COMMAND')
    })
  })
})
