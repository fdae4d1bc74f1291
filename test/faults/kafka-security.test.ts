/**
 * A Kafka that lets in only whom it knows, and only to what they may do: the core with exactly the rights that
 * `topics acls` prints does everything it does elsewhere, and every login that fails says why.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import kafkajs from 'kafkajs'
import { connect } from 'mqtt'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { Bus } from '../../cloud/bus/bus.ts'
import { createBus } from '../../cloud/bus/create-bus.ts'
import type { KafkaSettings } from '../../cloud/bus/kafka/kafka-options.ts'
import { cloudCommandLine } from '../../cloud/cli/program.ts'
import { paintWith } from '../../shared/cli/terminal.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { newAuthority } from '../support/certificates.ts'
import { ChatPerson } from '../support/chat-person.ts'
import { type CloudProcess, startCloud } from '../support/cloud-process.ts'
import type { Login } from '../support/edge-logins.ts'
import { type EdgeProcess, startEdge } from '../support/edge-process.ts'
import { type AnyJson, getJson, sendJson } from '../support/json-request.ts'
import { describeKafka, startKafka, type TestKafka } from '../support/kafka.ts'
import { LiveTestClient } from '../support/live-client.ts'
import type { TomlTable } from '../support/toml.ts'
import { until } from '../support/until.ts'

const [KNOWN, UNKNOWN] = ['INV-001', 'INV-002']
const PASSWORDS = { busbar: 'of-the-core-1', reader: 'of-a-reader-2', late: 'not-yet-this-3' }

/** What the command prints. */
async function printed(...args: string[]): Promise<string> {
  let text = ''
  const out = (written: string) => {
    text += written
  }
  const line = cloudCommandLine({ out, err: out, isInteractive: false, paint: paintWith(false) }, {})
  expect(await line.run(['bun', 'busbar-cloud', ...args])).toBe(0)
  return text
}

describeKafka('a Kafka that asks who is there', () => {
  const dir = mkdtempSync(join(tmpdir(), 'busbar-kafka-security-'))
  const authority = newAuthority(dir)
  const stranger = newAuthority(dir, 'stranger')
  const caFile = join(dir, 'authority.pem')
  let kafka: TestKafka
  let admin: kafkajs.Admin

  beforeAll(async () => {
    writeFileSync(caFile, authority.ca)
    const broker = authority.issue('broker', 'DNS:kafka.internal,IP:127.0.0.1')
    kafka = await startKafka({ security: { ca: authority.ca, ...broker, users: PASSWORDS } })
    const bus = busTo({ brokers: kafka.brokers })
    await bus.start()
    await bus.createTopics()
    await stopped(bus)
    await kafka.runAcls(await printed('topics', 'acls', '--principal', 'User:busbar'))
    const client = new kafkajs.Kafka({ brokers: [...kafka.brokers], logLevel: kafkajs.logLevel.NOTHING })
    admin = client.admin()
    await admin.connect()
  })
  afterAll(async () => {
    await admin?.disconnect()
    await kafka?.stop()
    rmSync(dir, { recursive: true, force: true })
  })

  const sasl = (): string => `127.0.0.1:${kafka.secure?.sasl}`
  const deniedTo = async (user: string): Promise<string[]> =>
    (await kafka.denials()).filter((line) => line.includes(`User:${user} is`))

  function busTo(settings: KafkaSettings): Bus {
    const patience = { connectTimeoutMs: 2_000, requestTimeoutMs: 3_000, publishTimeoutMs: 1_000 }
    const kafkaSettings = { ...patience, ...settings }
    return createBus({ kafka: kafkaSettings, clock: systemClock, random: systemRandom, log: silentLogger })
  }

  function stopped(bus: Bus): Promise<void> {
    return bus.stop(AbortSignal.timeout(1_000))
  }

  /** A started bus, stopped at the end of the test. */
  async function busAs(
    user: keyof typeof PASSWORDS,
    mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512' = 'scram-sha-512',
    changes: Partial<KafkaSettings> = {},
  ): Promise<Bus> {
    const login = { mechanism, username: user, password: PASSWORDS[user] }
    const bus = busTo({ brokers: [sasl()], tls: { ca: authority.ca }, sasl: login, ...changes })
    await bus.start()
    onTestFinished(() => stopped(bus))
    return bus
  }

  /** Gives the rights of some services, from what is printed for programs. */
  async function allow(principal: string, ...services: string[]): Promise<void> {
    const text = await printed('topics', 'acls', '--principal', principal, '--format', 'json', '--service', ...services)
    const { acls } = JSON.parse(text)
    const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs
    const { READ: Read, WRITE: Write, DESCRIBE: Describe } = AclOperationTypes
    const operations = { Read, Write, Describe }
    const { TOPIC, GROUP, TRANSACTIONAL_ID } = AclResourceTypes
    const resources = { topic: TOPIC, group: GROUP, 'transactional-id': TRANSACTIONAL_ID }
    const acl = acls.flatMap(({ resource, name, pattern, operations: names }: AnyJson) =>
      names.map((operation: keyof typeof operations) => ({
        resourceType: resources[resource as keyof typeof resources],
        resourceName: name,
        resourcePatternType: pattern === 'literal' ? ResourcePatternTypes.LITERAL : ResourcePatternTypes.PREFIXED,
        principal,
        host: '*',
        operation: operations[operation],
        permissionType: AclPermissionTypes.ALLOW,
      })),
    )
    await admin.createAcls({ acl })
  }

  const coreConfig = (username: string, password: string): TomlTable => ({
    kafka: {
      tls: { enabled: true, caFile },
      sasl: { mechanism: 'scram-sha-512', username, password },
    },
  })

  it('has the whole path from a device to people and back by a core that may do what is printed, and no more', async () => {
    const posted: string[] = []
    const webhook = Bun.serve({
      port: 0,
      async fetch(request) {
        posted.push(await request.text())
        return new Response(null, { status: 204 })
      },
    })
    onTestFinished(() => webhook.stop(true))
    const push = { url: `http://127.0.0.1:${webhook.port}/push`, secret: 'a secret of the push system' }
    const cloud: CloudProcess = await startCloud({
      kafkaBrokers: [sasl()],
      config: {
        ...coreConfig('busbar', PASSWORDS.busbar),
        notifications: { webhook: push },
        registry: { autoRegister: false },
      },
    })
    onTestFinished(async () => void (await cloud.kill('SIGKILL')))
    const edge: EdgeProcess = await startEdge({
      uplinkPort: cloud.ingestPort,
      devices: [KNOWN, UNKNOWN].map((serialNumber) => ({ siteId: 1, serialNumber })),
    })
    onTestFinished(async () => void (await edge.kill('SIGKILL')))
    const api = async (path: string): Promise<AnyJson> => (await getJson(`${cloud.apiUrl}/api/v1${path}`)).body
    const post = async (path: string, body: unknown): Promise<AnyJson> => {
      const answer = await sendJson(`${cloud.apiUrl}/api/v1${path}`, 'POST', body)
      expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300)
      return answer.body
    }
    await until(async () => (await fetch(`${cloud.apiUrl}/health/ready`)).ok, { what: 'the core is ready' })

    await post('/sites', { id: 1, name: 'Substation 1' })
    const register = (serialNumber: string) =>
      post('/devices', { siteId: 1, serialNumber, deviceType: 'SOLAR_INVERTER' })
    const { id: deviceId } = await register(KNOWN)

    // A reading of a device that nobody knows is a dead letter; once it is known, that is replayed.
    const stranger = await deviceOn(edge, UNKNOWN)
    await stranger.send('telemetry', { temperature: 20 })
    const [letter] = await until(
      async () => {
        const { items } = await api('/dead-letters')
        const found = items.filter(({ originalTopic }: AnyJson) => originalTopic === 'device-telemetry')
        return found.length > 0 ? found : null
      },
      { what: 'the dead letter is listed' },
    )
    await register(UNKNOWN)
    expect((await post('/dead-letters/replay', { ids: [letter.id] })).results).toMatchObject([{ outcome: 'REPLAYED' }])

    const device = await deviceOn(edge, KNOWN)
    const screen = await LiveTestClient.connect(`ws://127.0.0.1:${cloud.apiPort}/api/v1/ws`)
    await screen.ask({ type: 'subscribe', id: 'status', channel: 'status' }, 'subscribed')
    await post('/alert-rules', {
      ...{ name: 'too hot', field: 'temperature', comparison: 'GT', threshold: 80, hysteresis: 5 },
      ...{ severity: 'CRITICAL', recipients: { userIds: ['ann'] } },
    })
    await device.send('status', { status: 'MAINTENANCE' })
    await device.send('telemetry', { temperature: 85.5 })
    await until(
      () => screen.events.some(({ channel, data }) => channel === 'status' && data.newStatus === 'MAINTENANCE'),
      {
        what: 'the status is on the screen',
      },
    )
    await until(() => posted.some((body) => body.includes('TELEMETRY_ALERT')), { what: 'the alert is posted' })
    const range = 'from=2020-01-01T00:00:00Z&to=2099-01-01T00:00:00Z&resolution=1d'
    for (const id of [deviceId, deviceId + 1]) {
      const path = `/telemetry/series?deviceId=${id}&field=temperature&${range}`
      const counted = async (): Promise<boolean> => (await api(path)).series?.[0]?.points?.[0]?.count === 1
      await until(counted, { what: `the reading of device ${id} is in the database` })
    }

    const task = await post('/tasks', {
      ...{ command_type: 'SET_TOU', command_params: { tou_profile_id: 'TOU-1' } },
      ...{ device_ids: [KNOWN], requested_by: 'local', options: { timeout_ms: 20_000 } },
    })
    await until(async () => (await api(`/tasks/${task.taskId}`)).state === 'COMPLETED', {
      what: 'the task is completed',
    })
    expect((await api(`/tasks/${task.taskId}`)).tally.SUCCEEDED).toBe(1)

    const [ann, ben] = [new ChatPerson('ann'), new ChatPerson('ben')]
    onTestFinished(() => [ann, ben].forEach((person) => void person.drop()))
    for (const person of [ann, ben]) await person.connect(cloud.apiUrl)
    const { conversationId } = await post('/conversations', { userId: 'ann', kind: 'direct', with: 'ben' })
    await ann.ask({ type: 'chat.typing', conversationId, isTyping: true })
    const { messageId } = await ann.say(conversationId, 'it is cooling down')
    await until(() => ben.others.some(({ event }) => event === 'typing'), { what: 'ann is seen typing' })
    await until(() => ann.toldOf(messageId).includes('DELIVERED'), { what: 'the message is delivered' })
    // Who is not there is notified by the consumer of the topic.
    ben.drop()
    await until(async () => (await api('/people?userId=ann&search=ben')).items[0]?.presence.state === 'offline')
    await ann.say(conversationId, 'ben?')
    await until(() => posted.some((body) => body.includes('NEW_MESSAGE')), { what: 'ben is notified' })
    await edge.stop()
    expect((await cloud.stop())?.code).toBe(0)
    expect(await deniedTo('busbar')).toEqual([])
  })

  /** Takes every command and answers that it is done. */
  async function deviceOn(edge: EdgeProcess, serialNumber: string) {
    const login = edge.logins.get(serialNumber) as Login
    const device = connect({ port: edge.mqttPort, host: '127.0.0.1', clientId: serialNumber, ...login })
    onTestFinished(() => void device.end(true))
    const send = (channel: string, message: object) =>
      device.publishAsync(`sites/1/devices/${serialNumber}/${channel}`, JSON.stringify(message), { qos: 1 })
    device.on('message', (_topic, payload) => {
      void send('responses', { commandId: JSON.parse(String(payload)).commandId, status: 'SUCCESS' })
    })
    await until(() => device.connected, { what: 'the device is admitted' })
    await device.subscribeAsync(`sites/1/devices/${serialNumber}/commands`, { qos: 2 })
    return { send }
  }

  it('takes passwords by SCRAM and PLAIN, and certificates, from whoever publishes, consumes and administers', async () => {
    await allow('User:CN=busbar', 'ingest', 'analytics')
    const mutual = { brokers: [`127.0.0.1:${kafka.secure?.mutual}`] }
    const withCertificate = busTo({ ...mutual, tls: { ca: authority.ca, ...authority.issue('busbar') } })
    await withCertificate.start()
    onTestFinished(() => stopped(withCertificate))
    const named = {
      brokers: [`localhost:${kafka.secure?.sasl}`],
      tls: { ca: authority.ca, servername: 'kafka.internal' },
    }
    const buses = [
      withCertificate,
      await busAs('busbar', 'scram-sha-256'),
      await busAs('busbar', 'plain'),
      await busAs('busbar', 'scram-sha-512', named),
    ]
    for (const bus of buses) {
      const received = Promise.withResolvers<string>()
      const onBatch = async ({ records }: { records: readonly { value: Buffer }[] }) =>
        received.resolve(String(records.at(-1)?.value))
      const subscription = await bus.subscribe({ group: 'analytics-service', topics: ['device-telemetry'], onBatch })
      await bus.publish('device-telemetry', [{ key: 'INV-9', value: 'for whoever is in the group' }])
      expect(await received.promise).toBeTruthy()
      expect(bus.health()).toEqual({ state: 'up' })
      await subscription.stop()
    }
  })

  it('lets a user with the rights of one service do its work and nothing else', async () => {
    await allow('User:reader', 'analytics')
    const bus = await busAs('reader')
    const received = Promise.withResolvers<void>()
    const subscription = await bus.subscribe({
      ...{ group: 'analytics-service', topics: ['device-telemetry'] },
      onBatch: async () => received.resolve(),
    })
    const writer = await busAs('busbar')
    await writer.publish('device-telemetry', [{ key: 'INV-9', value: '{}' }])
    await received.promise
    await subscription.stop()
    expect(await deniedTo('reader')).toEqual([])

    const refused = (topic: string) => bus.publish(topic, [{ key: 'a', value: 'b' }]).catch((error: Error) => error)
    expect(await refused('device-telemetry')).toMatchObject({ code: 'KAFKA_REFUSED' })
    expect(await refused('notifications')).toMatchObject({ message: expect.stringContaining('authorization failed') })
    expect(bus.health()).toMatchObject({ detail: expect.stringContaining('`busbar-cloud topics acls`') })

    const together = ['a', 'b', 'c', 'd', 'e', 'f'].map((key) => ({ key, value: '{}' }))
    await writer.publish('user-activity-logs', together, { atomic: true })
    expect(await deniedTo('busbar')).toEqual([])
    await expect(bus.publish('device-telemetry', together, { atomic: true })).rejects.toMatchObject({
      code: 'KAFKA_REFUSED',
      hint: expect.stringContaining('busbar-tx-'),
    })
    const missing = 'may not create them: .*notifications'
    await expect(bus.createTopics()).rejects.toMatchObject({
      code: 'KAFKA_DENIED',
      message: expect.stringMatching(missing),
    })
    for (const [resource, name] of [
      ['Topic', 'device-telemetry'],
      ['Topic', 'notifications'],
    ]) {
      expect((await deniedTo('reader')).some((line) => line.includes(`${resource}:LITERAL:${name} `))).toBe(true)
    }
    await expect(bus.positions('notification-service', ['device-telemetry'])).rejects.toMatchObject({
      code: 'KAFKA_ADMIN_FAILED',
      hint: expect.stringContaining('topics acls'),
    })
  })

  it('says in words what is wrong with a login or a certificate, and what to do', async () => {
    const detailOf = async (settings: Partial<KafkaSettings>): Promise<string> => {
      const bus = await busAs('busbar', 'scram-sha-512', settings)
      const { state, detail = '' } = bus.health()
      expect(state).toBe('down')
      expect(detail).not.toContain(PASSWORDS.busbar)
      return detail
    }
    expect(await detailOf({ tls: { ca: stranger.ca } })).toMatch(/certificate.*Check that kafka\.tls\.caFile has/)
    expect(await detailOf({ tls: { ca: authority.ca, servername: 'kafka.elsewhere' } })).toMatch(
      /altnames.*Check that kafka\.brokers has the names .* or set kafka\.tls\.serverName/,
    )
    const wrong = { mechanism: 'plain', username: 'busbar', password: 'wrong' } as const
    expect(await detailOf({ sasl: wrong })).toMatch(/SASL authentication failed.*Check kafka\.sasl: the mechanism/)
    const withoutCertificate = { brokers: [`127.0.0.1:${kafka.secure?.mutual}`] }
    expect(await detailOf(withoutCertificate)).toMatch(/the certificate of this client, or want one/)
  })

  it('is waited for by a core with a wrong password, whose health says so, until the password is right', async () => {
    const cloud = await startCloud({ kafkaBrokers: [sasl()], config: coreConfig('late', 'the-new-password-4') })
    onTestFinished(async () => void (await cloud.kill('SIGKILL')))
    const healthOf = async ({ apiUrl }: CloudProcess): Promise<string> =>
      JSON.stringify(await getJson(`${apiUrl}/health/ready`))
    expect(await healthOf(cloud)).toMatch(/"status":503/)
    expect(await healthOf(cloud)).toMatch(/SASL authentication failed.*Check kafka\.sasl/)
    await kafka.setPassword('late', 'the-new-password-4')
    await until(async () => !(await healthOf(cloud)).includes('kafka.sasl'), {
      what: 'it is let in',
      timeoutMs: 30_000,
    })
    expect(cloud.logs()).not.toContain('the-new-password-4')
  })
})
