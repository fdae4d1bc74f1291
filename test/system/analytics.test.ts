/**
 * From a device's publish to the operator's screen, with the compiled programs and clients that nobody here wrote:
 * mosquitto_sub is the device that comes and goes, mosquitto_pub what it measures, and a webhook receives what people are told.
 */

import { createHmac } from 'node:crypto'
import { rm } from 'node:fs/promises'
import type { Server } from 'bun'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { type Binaries, buildBinaries, withoutNodeModules } from '../support/binaries.ts'
import { type Child, startChild } from '../support/child.ts'
import { type CloudProcess, startCloud } from '../support/cloud-process.ts'
import { type EdgeProcess, startEdge } from '../support/edge-process.ts'
import { type AnyJson, getJson, sendJson } from '../support/json-request.ts'
import { describeKafka, startKafka, type TestKafka } from '../support/kafka.ts'
import { readTopic } from '../support/kcat.ts'
import { describeWith } from '../support/real-parts.ts'
import { until } from '../support/until.ts'

const SERIAL = 'INV-001'
const BASE = `sites/1/devices/${SERIAL}`
const SECRET = 'a secret of the push system'

describeKafka('analytics', () => {
  describeWith(['mosquitto_pub', 'mosquitto_sub', 'kcat'], 'with compiled programs', (programs) => {
    let binaries: Binaries
    let kafka: TestKafka
    let cloud: CloudProcess
    let edge: EdgeProcess
    let screen: WebSocket
    let webhook: Server<undefined>
    const frames: AnyJson[] = []
    const posted: { readonly headers: Headers; readonly body: string }[] = []
    const latencies: string[] = []

    const asDevice = (clientId: string): string[] => {
      const login = edge.logins.get(SERIAL)
      return [
        ...['-h', '127.0.0.1', '-p', String(edge.mqttPort), '-i', clientId],
        ...['-u', login?.username ?? '', '-P', login?.password ?? ''],
      ]
    }
    const publish = async (message: string): Promise<void> => {
      const child = startChild({
        command: [
          programs.mosquitto_pub,
          ...asDevice(`${SERIAL}-out`),
          '-q',
          '1',
          '-t',
          `${BASE}/telemetry`,
          '-m',
          message,
        ],
      })
      expect({ ...(await child.exited), output: child.output() }).toMatchObject({ code: 0 })
    }
    const get = async (path: string): Promise<AnyJson> => (await getJson(`${cloud.apiUrl}${path}`)).body
    const onScreen = (channel: string, matching: (data: AnyJson) => boolean): Promise<AnyJson> =>
      until(() => frames.find((frame) => frame.channel === channel && matching(frame.data))?.data, {
        what: `${channel} on the screen; there is ${JSON.stringify(frames)}`,
        pollMs: 2,
      })
    /** Notes how long after `publish` began something is on the screen: reported, not asserted. */
    const timed = async (what: string, work: () => Promise<unknown>, seen: () => Promise<unknown>): Promise<void> => {
      const begun = performance.now()
      await Promise.all([
        work(),
        seen().then(() => latencies.push(`${what}: ${Math.round(performance.now() - begun)} ms`)),
      ])
    }
    const cli = async (status: number, ...args: string[]): Promise<string> => {
      const child = startChild({ command: [binaries.cloud, 'dead-letters', ...args, '--url', cloud.apiUrl] })
      expect({ ...(await child.exited), output: child.output() }).toMatchObject({ code: status })
      return child.output()
    }

    beforeAll(async () => {
      binaries = await buildBinaries()
      kafka = await startKafka()
      webhook = Bun.serve({
        port: 0,
        async fetch(request) {
          posted.push({ headers: request.headers, body: await request.text() })
          return new Response(null, { status: 204 })
        },
      })
      cloud = await startCloud({
        binary: binaries.cloud,
        wrapper: withoutNodeModules,
        kafkaBrokers: kafka.brokers,
        config: { notifications: { webhook: { url: `http://127.0.0.1:${webhook.port}/push`, secret: SECRET } } },
      })
      edge = await startEdge({
        binary: binaries.edge,
        wrapper: withoutNodeModules,
        uplinkPort: cloud.ingestPort,
        devices: [{ siteId: 1, serialNumber: SERIAL }],
      })
      await publish('{"powerKw": 45.2, "temperature": 35.2}')
      await until(async () => (await get('/api/v1/devices')).items.length === 1, { what: 'the device is known' })
      const rule = await sendJson(`${cloud.apiUrl}/api/v1/alert-rules`, 'POST', {
        name: 'inverter too hot',
        field: 'temperature',
        comparison: 'GT',
        threshold: 80,
        hysteresis: 5,
        severity: 'CRITICAL',
        recipients: { userIds: ['ann'] },
      })
      expect(rule.status).toBe(201)
      await sendJson(`${cloud.apiUrl}/api/v1/users/ben/notification-preferences`, 'PATCH', {
        types: { DEVICE_STATUS: { enabled: true, minSeverity: 'WARNING' } },
      })
      screen = new WebSocket(`ws://127.0.0.1:${cloud.apiPort}/api/v1/ws`)
      screen.on('message', (text) => frames.push(JSON.parse(String(text))))
      await until(() => screen.readyState === WebSocket.OPEN)
      const subscriptions = { status: {}, alerts: {}, notifications: { userId: 'ann' }, unread: { userId: 'ann' } }
      for (const [channel, filter] of Object.entries(subscriptions)) {
        screen.send(JSON.stringify({ type: 'subscribe', id: channel, channel, filter }))
      }
      await until(() => frames.filter(({ type }) => type === 'subscribed').length === 4, {
        what: 'all is subscribed to',
      })
    })
    afterAll(async () => {
      process.stdout.write(`\nfrom publish to screen: ${latencies.join(', ')}\n`)
      screen?.close()
      await edge?.stop()
      await cloud?.stop()
      await webhook?.stop(true)
      await kafka?.stop()
      await binaries?.remove()
      for (const dir of [edge?.dir, cloud?.dir]) if (dir !== undefined) await rm(dir, { recursive: true, force: true })
    })

    it('a device that comes and goes is on the screen, and whoever asked for it is told', async () => {
      let device: Child | null = null
      await timed(
        'status',
        async () => {
          device = startChild({
            command: [programs.mosquitto_sub, ...asDevice(SERIAL), '-q', '2', '-t', `${BASE}/commands`],
          })
        },
        () => onScreen('status', ({ newStatus }) => newStatus === 'ONLINE'),
      )
      await (device as Child | null)?.kill('SIGKILL')
      await onScreen('status', ({ newStatus }) => newStatus === 'OFFLINE')
      const [told] = await until(
        async () => {
          const { items } = await get('/api/v1/users/ben/notifications')
          return items.length > 0 ? items : null
        },
        { what: 'ben is told' },
      )
      expect(told).toMatchObject({ type: 'DEVICE_STATUS', severity: 'WARNING', read: false })
      await until(
        async () => {
          const { items } = await get('/api/v1/devices/1/status-history')
          const [last, before] = items.map(({ newStatus }: AnyJson) => newStatus)
          return last === 'OFFLINE' && before === 'ONLINE'
        },
        { what: 'both are in the history' },
      )
      const { statuses } = await get('/api/v1/devices/1/availability')
      expect(statuses.ONLINE.ms).toBeGreaterThan(0)
    })

    it('an alert opens, is told once on every way, and closes', async () => {
      await timed(
        'alert',
        () => publish('{"temperature": 85.5}'),
        () => onScreen('alerts', ({ state }) => state === 'OPEN'),
      )
      const told = await onScreen('notifications', ({ type }) => type === 'TELEMETRY_ALERT')
      expect(told).toMatchObject({ userId: 'ann', read: false, title: expect.stringContaining('inverter too hot') })
      await publish('{"temperature": 78}')
      await publish('{"temperature": 86}')
      await publish('{"temperature": 74}')
      await onScreen('alerts', ({ state }) => state === 'CLOSED')
      await until(() => posted.length >= 3, { what: 'all is posted' })

      const { items } = await get('/api/v1/users/ann/notifications')
      expect(items.map(({ type }: AnyJson) => type)).toEqual(['TELEMETRY_ALERT', 'TELEMETRY_ALERT'])
      expect((await get('/api/v1/alerts')).items).toMatchObject([
        { state: 'CLOSED', serialNumber: SERIAL, valueOpened: 85.5, valueWorst: 86, valueClosed: 74 },
      ])
      const onTopic = (await readTopic(kafka.brokers, 'notifications')).filter(({ key }) => key === 'ann')
      expect(onTopic.map(({ payload }) => JSON.parse(payload).id).sort()).toEqual(
        items.map(({ id }: AnyJson) => id).sort(),
      )
      expect(JSON.parse(onTopic[0]?.payload ?? '')).toMatchObject({
        ...{ id: told.id, userId: 'ann', title: expect.any(String), content: expect.any(String) },
        ...{ type: 'TELEMETRY_ALERT', relatedEntityId: expect.any(String), read: false },
        createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      })
    })

    it('what is posted carries a signature that a receiver can check', () => {
      for (const { headers, body } of posted) {
        const signed = `${headers.get('webhook-id')}.${headers.get('webhook-timestamp')}.${body}`
        const expected = createHmac('sha256', SECRET).update(signed).digest('base64')
        expect(headers.get('webhook-signature')).toBe(`v1,${expected}`)
      }
      expect(new Set(posted.map(({ headers }) => headers.get('webhook-id'))).size).toBe(posted.length)
    })

    it('a notification that is read here is read everywhere', async () => {
      const answer = await sendJson(`${cloud.apiUrl}/api/v1/users/ann/notifications/read-all`, 'POST', {})
      expect(answer.status).toBe(200)
      await onScreen('unread', ({ unread }) => unread === 0)
      expect(await get('/api/v1/users/ann/notifications/unread-count')).toMatchObject({ unread: 0 })
    })

    it('the readings are there: as a series, complete, and as a file', async () => {
      const range = 'from=2020-01-01T00:00:00Z&to=2099-01-01T00:00:00Z'
      const series = await until(
        async () => {
          const body = await get(`/api/v1/telemetry/series?deviceId=1&field=temperature&${range}&resolution=1d`)
          return body.series?.[0]?.points?.[0]?.count === 5 ? body : null
        },
        { what: 'all is rolled up' },
      )
      expect(series.series[0].points[0]).toMatchObject({ min: 35.2, max: 86, last: 74, count: 5 })
      const lastHour = `from=${new Date(Date.now() - 3_600_000).toISOString()}&to=${new Date().toISOString()}`
      await until(
        async () => {
          const { arrived, verdict } = await get(`/api/v1/devices/1/completeness?${lastHour}`)
          return arrived.records === 5 && verdict === 'COMPLETE'
        },
        { what: 'all is counted, and complete' },
      )
      const csv = await (
        await fetch(`${cloud.apiUrl}/api/v1/telemetry/export?format=csv&deviceId=1&${lastHour}`)
      ).text()
      expect(csv.split(/\r?\n/).filter((line) => line.includes('temperature')).length).toBe(5)
    })

    it('poison is listed, shown with its error, and not replayed while it is poison', async () => {
      await publish('{"temperature": 20')
      const [letter] = await until(
        async () => {
          const items = JSON.parse(await cli(0, 'list', '--json'))
          return items.length > 0 ? items : null
        },
        { what: 'the dead letter is listed', pollMs: 200 },
      )
      expect(letter).toMatchObject({ originalTopic: 'device-telemetry', source: 'ingest', key: SERIAL })
      expect(await cli(0, 'show', letter.id)).toContain('"temperature": 20')
      // It is no more JSON than before.
      expect(await cli(1, 'replay', letter.id, '--dry-run')).toContain('refused')
      const { verdict, why } = await get('/api/v1/devices/1/completeness?from=2026-01-01T00:00:00Z')
      expect([verdict, why]).toEqual(['UNKNOWN', expect.stringContaining('Dead letters that were not replayed')])
    })
  })
})
