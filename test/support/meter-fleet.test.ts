import { createServer, type Socket } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { deviceTopic } from '../../shared/mqtt-topics.ts'
import type { BehaviourOptions, CommandAnswer } from '../simulation/command-behaviour.ts'
import { MeterFleet, meterNames } from './meter-fleet.ts'
import { startMosquitto } from './mosquitto.ts'
import { MqttPeer } from './mqtt-peer.ts'
import { acknowledgement, PACKET, PacketReader, publishFrame } from './mqtt-peer-frames.ts'
import { describeWith } from './real-parts.ts'
import { until } from './until.ts'

const OBEDIENT: BehaviourOptions = { seed: 1, failing: 0, rejecting: 0, slow: 0, silent: 0, answerMs: [0, 20] }

const setTou = (commandId: string): string =>
  JSON.stringify({ commandId, name: 'SET_TOU', params: { tou_profile_id: 'T' }, issuedAt: '', expiresAt: '' })

describeWith(['mosquitto'], 'a fleet of meters on Mosquitto', () => {
  /** A fleet, and a control that sends it commands with QoS 2 and gets its answers. */
  async function fleetAndControl(options: { meters: number; perConnection: number; behaviour?: BehaviourOptions }) {
    const mosquitto = await startMosquitto()
    if (mosquitto === null) throw new Error('mosquitto is gone')
    const { port } = mosquitto
    const serialNumbers = meterNames(options.meters)
    const { perConnection, behaviour = OBEDIENT } = options
    const fleet = new MeterFleet({ port, siteId: 7, serialNumbers, perConnection, behaviour, reconnectMs: 20 })
    const answers = new Map<string, CommandAnswer>()
    const readings = new Set<string>()
    const control = new MqttPeer({
      clientId: 'control',
      port,
      subscriptions: ['sites/+/devices/+/responses', 'sites/+/devices/+/telemetry'],
      onMessage(topic, payload) {
        if (topic.endsWith('/telemetry')) readings.add(topic)
        else answers.set(topic, JSON.parse(payload.toString()) as CommandAnswer)
      },
    })
    onTestFinished(async () => {
      await fleet.stop()
      await control.stop()
      await mosquitto.stop()
    })
    await Promise.all([fleet.start(), control.start()])
    const command = (serialNumber: string, id = `c-${serialNumber}`): void =>
      control.publish(deviceTopic(7, serialNumber, 'commands'), setTou(id), 2)
    return { fleet, control, answers, readings, serialNumbers, command }
  }

  test('every meter announces itself, executes its command once and answers', async () => {
    const { fleet, answers, readings, serialNumbers, command } = await fleetAndControl({
      meters: 2_000,
      perConnection: 100,
    })
    await fleet.announce()
    await until(() => readings.size === 2_000)
    for (const serialNumber of serialNumbers) command(serialNumber)
    await until(() => answers.size === 2_000)
    expect(fleet.executedTwice()).toEqual([])
    expect(fleet.executionsByDevice()).toEqual(new Map(serialNumbers.map((each) => [each, 1])))
    expect([...answers.values()].every(({ status }) => status === 'SUCCESS')).toBe(true)
    expect(fleet.executions.get('c-MTR-00001')).toMatchObject({
      serialNumber: 'MTR-00001',
      status: 'SUCCESS',
      times: 1,
    })
  })

  test('connections that are cut in the middle lose and repeat nothing', async () => {
    const { fleet, control, answers, serialNumbers, command } = await fleetAndControl({
      meters: 600,
      perConnection: 20,
    })
    for (const [i, serialNumber] of serialNumbers.entries()) {
      command(serialNumber)
      if (i % 100 !== 50) continue
      fleet.drop(15)
      control.drop()
      await Promise.all([fleet.start(), control.start()])
    }
    await until(() => answers.size === 600 && control.unconfirmed === 0 && fleet.unanswered === 0)
    expect(fleet.executedTwice()).toEqual([])
    expect(fleet.executions.size).toBe(600)
  })

  test('a command that somebody sends twice is counted twice', async () => {
    const { fleet, command } = await fleetAndControl({ meters: 3, perConnection: 3 })
    command('MTR-00002', 'the-same')
    command('MTR-00002', 'the-same')
    command('MTR-00003')
    await until(() => fleet.executionsByDevice().get('MTR-00003') === 1)
    await until(() => fleet.executedTwice().length > 0)
    expect(fleet.executedTwice()).toEqual(['the-same'])
    expect(fleet.executionsByDevice().get('MTR-00002')).toBe(2)
  })

  test('what fails and what stays silent follows from the seed', async () => {
    const behaviour = { ...OBEDIENT, failing: 0.2, silent: 0.2 }
    const { fleet, answers, serialNumbers, command } = await fleetAndControl({
      meters: 200,
      perConnection: 50,
      behaviour,
    })
    for (const serialNumber of serialNumbers) command(serialNumber)
    await until(() => fleet.executions.size === 200 && fleet.unanswered === 0)
    const silent = [...fleet.executions.values()].filter(({ status }) => status === null).length
    expect(silent).toBeGreaterThan(20)
    expect(silent).toBeLessThan(60)
    await until(() => answers.size === 200 - silent)
    const failed = [...answers.values()].filter(({ status }) => status === 'FAILED')
    expect(failed.length).toBeGreaterThan(20)
    expect(failed.every(({ payload }) => Number(payload?.dlmsResultCode) > 0)).toBe(true)
  })
})

describe('a meter before a broker that repeats itself', () => {
  /** Speaks to one client at a time, frame by frame. */
  async function brokerByHand() {
    const reader = { current: new PacketReader() }
    const packets: { type: number; id: number }[] = []
    let socket: Socket | null = null
    let connections = 0
    const server = createServer((next) => {
      socket = next.setNoDelay(true)
      reader.current = new PacketReader()
      next.on('error', () => undefined)
      next.on('data', (chunk: Buffer) => {
        for (const { type, body } of reader.current.read(chunk)) {
          if (type === 1) {
            next.write(Buffer.from([0x20, 2, connections++ === 0 ? 0 : 1, 0]))
          } else if (type === 8) {
            next.write(Buffer.concat([Buffer.from([0x90, 3]), body.subarray(0, 2), Buffer.from([2])]))
          } else packets.push({ type, id: body.length >= 2 ? body.readUInt16BE(0) : 0 })
        }
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const behaviour = { ...OBEDIENT, silent: 1 }
    const fleet = new MeterFleet({ port, siteId: 7, serialNumbers: ['MTR-1'], behaviour, reconnectMs: 10 })
    onTestFinished(async () => {
      await fleet.stop()
      server.close()
    })
    await fleet.start()
    const publish = (id: string, packetId: number, dup: boolean): void =>
      void socket?.write(
        publishFrame('sites/7/devices/MTR-1/commands', Buffer.from(setTou(id)), { qos: 2, packetId, dup }),
      )
    return {
      fleet,
      packets,
      publish,
      release: (packetId: number) => void socket?.write(acknowledgement(PACKET.PUBREL, packetId)),
      cut: () => void socket?.resetAndDestroy(),
      got: (type: number, count: number) => until(() => packets.filter((each) => each.type === type).length === count),
    }
  }

  test('PUBLISH and PUBREL that come again, also over a new connection, execute nothing again', async () => {
    const { fleet, publish, release, cut, got } = await brokerByHand()
    publish('one', 5, false)
    publish('one', 5, true)
    await got(PACKET.PUBREC, 2)
    cut()
    await until(() => fleet.reconnects === 1 && fleet.connected)
    publish('one', 5, true)
    await got(PACKET.PUBREC, 3)
    expect(fleet.executions.size).toBe(0)
    release(5)
    await got(PACKET.PUBCOMP, 1)
    cut()
    await until(() => fleet.reconnects === 2 && fleet.connected)
    release(5)
    await got(PACKET.PUBCOMP, 2)
    expect(fleet.executions.get('one')?.times).toBe(1)
  })

  test('a packet id that is free again carries another message', async () => {
    const { fleet, publish, release, got } = await brokerByHand()
    for (const [i, id] of ['one', 'two'].entries()) {
      publish(id, 5, false)
      await got(PACKET.PUBREC, i + 1)
      release(5)
      await got(PACKET.PUBCOMP, i + 1)
    }
    expect([...fleet.executions.keys()]).toEqual(['one', 'two'])
  })
})
