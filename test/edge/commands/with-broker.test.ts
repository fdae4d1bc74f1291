/** The inbox with the real broker, the real spool and devices that speak MQTT. */

import { join } from 'node:path'
import type { MqttClient } from 'mqtt'
import { expect, onTestFinished, test } from 'vitest'
import { Broker } from '../../../edge/broker/broker.ts'
import { CommandInbox } from '../../../edge/commands/inbox.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { newSpool, readRecords, stopSpool } from '../../support/spool.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'
import { ackFrame, connectFrame, framesOf, pubrelFrame, readPublish, subscribeFrame } from '../broker/support/frames.ts'
import { mqttClient, type RawClient, rawClient, stopBroker } from '../broker/support/site.ts'
import { command, DEVICE } from './support/inbox.ts'

const TOPICS = `sites/${DEVICE.siteId}/devices/${DEVICE.serialNumber}`
const tools = { clock: systemClock, random: systemRandom, log: silentLogger }

async function startGateway(dir: string) {
  const spool = newSpool(join(dir, 'spool'))
  const broker = new Broker({
    listeners: { tcp: { host: '127.0.0.1', port: 0 } },
    insecure: true,
    spool,
    credentials: { file: join(dir, 'credentials.json') },
    certificates: { authorityDir: join(dir, 'authority'), otherAuthorities: '', required: false },
    sessions: { dir: join(dir, 'mqtt') },
    ...tools,
  })
  const inbox = new CommandInbox({
    dir: join(dir, 'commands'),
    spool,
    outlet: broker.commands,
    inboxMax: 1000,
    keptDays: 30,
    ...tools,
  })
  await spool.start()
  await inbox.start()
  await broker.start()
  const stop = async () => {
    await stopBroker(broker)
    await inbox.stop(AbortSignal.timeout(5000))
    await stopSpool(spool)
  }
  onTestFinished(stop)
  inbox.learnCloudTime(Date.now() - performance.now())
  const port = broker.addresses().tcp?.port ?? 0
  return {
    inbox,
    port,
    stop,
    /** What the cloud is told of the device's commands, as `channel payload`. */
    told: async () =>
      (await readRecords(spool, 'priority'))
        .filter(({ topic }) => /(commands|responses)$/.test(topic))
        .map(({ topic, text }) => `${topic.split('/').at(-1)} ${text}`),
    client: (clientId: string, clean = false) => mqttClient(`mqtt://127.0.0.1:${port}`, { clientId, clean }),
  }
}

const soon = (id: string, overrides = {}) => command(id, { expiresAtMs: Date.now() + 60_000, ...overrides })

/** Answers every command; the ids, in the order in which they came. */
function answering(device: MqttClient): string[] {
  const ids: string[] = []
  device.on('message', (_topic, payload) => {
    const { commandId } = JSON.parse(payload.toString())
    ids.push(commandId)
    device.publish(`${TOPICS}/responses`, JSON.stringify({ commandId, status: 'SUCCESS' }), { qos: 1 })
  })
  return ids
}

test('devices get their commands one after another, and what becomes of them is told in order', async () => {
  const gateway = await startGateway(await tempDir())
  const watcher = await gateway.client('watcher', true)
  const watched: string[] = []
  watcher.on('message', (_topic, payload) => void watched.push(JSON.parse(payload.toString()).commandId))
  await watcher.subscribeAsync('sites/+/devices/+/#', { qos: 0 })
  const ids = ['c0', 'c1', 'c2']
  expect((await gateway.inbox.receive(ids.map((id) => soon(id)))).stored).toEqual(ids)
  const device = await gateway.client('meter')
  const got = answering(device)
  await device.subscribeAsync(`${TOPICS}/commands`, { qos: 2 })
  await until(() => gateway.inbox.stats().ended.ANSWERED === 3)
  expect(got).toEqual(ids)
  expect(gateway.inbox.stats()).toMatchObject({ waiting: 0, sent: 0, delivered: 0, remembered: 3 })
  // That the inbox knows of an answer does not say that the spool has it.
  const told = await until(async () => {
    const told = await gateway.told()
    return told.filter((each) => each.startsWith('responses')).length === ids.length ? told : null
  })
  for (const id of ids) {
    // Where the answer overtook it, DELIVERED is not told.
    const delivered = told.indexOf(`commands {"commandId":"${id}","state":"DELIVERED"}`)
    expect(delivered).toBeLessThan(told.findIndex((each) => each.startsWith('responses') && each.includes(id)))
  }
  expect(told.filter((each) => each.startsWith('responses'))).toEqual(
    ids.map((id) => `responses {"commandId":"${id}","status":"SUCCESS"}`),
  )
  await until(() => watched.filter((id) => id.startsWith('c')).length >= 3)
  // Handed over again, they are known.
  expect((await gateway.inbox.receive(ids.map((id) => soon(id)))).stored).toEqual(ids)
  expect(gateway.inbox.stats().waiting).toBe(0)
})

test('a device that takes a command and never answers is TIMED_OUT', async () => {
  const gateway = await startGateway(await tempDir())
  const device = await gateway.client('meter')
  await device.subscribeAsync(`${TOPICS}/commands`, { qos: 2 })
  await gateway.inbox.receive([soon('c0', { timeoutMs: 100 })])
  await until(() => gateway.inbox.stats().ended.TIMED_OUT === 1 && gateway.inbox.stats().untold === 0)
  expect(await gateway.told()).toEqual([
    'commands {"commandId":"c0","state":"DELIVERED"}',
    'commands {"commandId":"c0","state":"TIMED_OUT","reason":"the device has it and did not answer within 100 ms"}',
  ])
})

test('a handshake goes on where it was, over lost connections and restarts of the gateway', async () => {
  const dir = await tempDir()
  let gateway = await startGateway(dir)
  await gateway.inbox.receive([soon('c0')])
  /** Connects, and subscribes if its session is new; the frames that follow. */
  const connect = async (subscribe: boolean): Promise<{ raw: RawClient; next: () => Promise<Buffer> }> => {
    const raw = await rawClient(gateway.port)
    raw.send(connectFrame({ clientId: 'meter', clean: false }))
    await until(() => raw.received.length >= 4)
    if (subscribe) raw.send(subscribeFrame(1, `${TOPICS}/commands`, 2))
    let taken = subscribe ? 2 : 1
    const next = async () => {
      await until(() => framesOf(raw.received).length > taken)
      return framesOf(raw.received)[taken++] as Buffer
    }
    return { raw, next }
  }

  const first = await connect(true)
  const published = readPublish(await first.next())
  expect(published).toMatchObject({ first: 0x34, topic: `${TOPICS}/commands` })
  first.raw.socket.destroy()
  const second = await connect(false)
  expect(readPublish(await second.next())).toEqual({ ...published, first: 0x3c })
  await gateway.stop()

  gateway = await startGateway(dir)
  const third = await connect(false)
  expect(readPublish(await third.next())).toEqual({ ...published, first: 0x3c })
  third.raw.send(ackFrame('pubrec', published.id))
  expect(await third.next()).toEqual(pubrelFrame(published.id))
  await gateway.stop()

  gateway = await startGateway(dir)
  const fourth = await connect(false)
  expect(await fourth.next()).toEqual(pubrelFrame(published.id))
  fourth.raw.send(ackFrame('pubcomp', published.id))
  await until(() => gateway.inbox.stats().delivered === 1 && gateway.inbox.stats().untold === 0)
  expect(await gateway.told()).toEqual(['commands {"commandId":"c0","state":"DELIVERED"}'])
})

test('without a durable session a command goes out once, whatever becomes of the connection', async () => {
  const gateway = await startGateway(await tempDir())
  await gateway.inbox.receive([soon('c0', { timeoutMs: 200 })])
  const raw = await rawClient(gateway.port)
  raw.send(connectFrame({ clientId: 'meter', clean: true }))
  raw.send(subscribeFrame(1, `${TOPICS}/commands`, 2))
  await until(() => framesOf(raw.received).length === 3)
  raw.socket.destroy()
  const again = await rawClient(gateway.port)
  again.send(connectFrame({ clientId: 'meter', clean: true }))
  again.send(subscribeFrame(1, `${TOPICS}/commands`, 2))
  await until(() => gateway.inbox.stats().ended.TIMED_OUT === 1 && gateway.inbox.stats().untold === 0)
  expect(framesOf(again.received)).toHaveLength(2)
  expect(await gateway.told()).toEqual([expect.stringContaining('keeps no session in which to send it again')])
})
