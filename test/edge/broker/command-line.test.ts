import { describe, expect, test } from 'vitest'
import { COMMAND_PACKET_ID_MIN } from '../../../edge/broker/packet-ids.ts'
import { until } from '../../support/until.ts'
import { COMMAND, COMMANDS, deviceWithCommand, framesSoFar, rawDevice, siteWithInbox } from './support/commands.ts'
import {
  ackFrame,
  connectFrame,
  DISCONNECT,
  pubrelFrame,
  readPublish,
  subscribeFrame,
  unsubscribeFrame,
} from './support/frames.ts'
import { stopBroker } from './support/site.ts'

describe('the handshake of a command', () => {
  test('goes one step at a time: PUBREL waits until it is released', async () => {
    const { inbox, raw, packetId } = await deviceWithCommand(true)
    const [, , publish] = await framesSoFar(raw)
    expect(readPublish(publish as Buffer)).toEqual({
      first: 0x34,
      topic: COMMANDS,
      id: packetId,
      payload: COMMAND.toString(),
    })
    raw.send(ackFrame('pubrec', packetId))
    await until(() => inbox.of('received').length === 1)
    expect(await framesSoFar(raw)).toEqual([])
    inbox.route().release(packetId)
    expect(await framesSoFar(raw)).toEqual([pubrelFrame(packetId)])
    raw.send(ackFrame('pubcomp', packetId))
    await until(() => inbox.of('completed').length === 1)
    expect(await framesSoFar(raw)).toEqual([])
  })

  test('tells PUBREC as often as it comes, and is released as often', async () => {
    const { inbox, raw, packetId } = await deviceWithCommand(true)
    await framesSoFar(raw)
    inbox.releases = true
    raw.send(Buffer.concat([ackFrame('pubrec', packetId), ackFrame('pubrec', packetId)]))
    expect(await framesSoFar(raw)).toEqual([pubrelFrame(packetId), pubrelFrame(packetId)])
    raw.send(Buffer.concat([ackFrame('pubcomp', packetId), ackFrame('pubcomp', packetId)]))
    await framesSoFar(raw)
    expect(inbox.of('completed')).toHaveLength(1)
  })

  test('takes no acknowledgement for another: PUBCOMP before PUBREL, PUBACK for QoS 2', async () => {
    const { inbox, raw, packetId } = await deviceWithCommand(true)
    await framesSoFar(raw)
    raw.send(Buffer.concat([ackFrame('pubcomp', packetId), ackFrame('puback', packetId)]))
    expect(await framesSoFar(raw)).toEqual([])
    expect(inbox.lines).toHaveLength(1)
    expect(raw.closed).toBe(false)
  })

  test('is finished after unsubscribing amid it [MQTT-3.10.4-3], and nothing new begins', async () => {
    const { inbox, raw, packetId } = await deviceWithCommand(true)
    const route = inbox.route()
    raw.send(unsubscribeFrame(2, COMMANDS))
    await framesSoFar(raw)
    expect(inbox.of('closed')).toEqual([])
    raw.send(ackFrame('pubrec', packetId))
    await until(() => inbox.of('received').length === 1)
    route.release(packetId)
    expect(await framesSoFar(raw)).toEqual([pubrelFrame(packetId)])
    raw.send(ackFrame('pubcomp', packetId))
    await until(() => inbox.of('closed').length === 1)
    expect(inbox.lines.slice(2)).toEqual([`completed INV-001 ${packetId}`, 'closed INV-001 device'])
  })

  test('is given up after unsubscribing when another command is due; another connection takes that', async () => {
    const { site, inbox, raw } = await deviceWithCommand(true)
    const second = await site.client({ clientId: 'second' })
    await second.subscribeAsync(COMMANDS, { qos: 2 })
    const route = inbox.route()
    raw.send(unsubscribeFrame(2, COMMANDS))
    await framesSoFar(raw)
    expect(route.publish(route.newPacketId(), COMMAND, false)).toBe(false)
    await until(() => inbox.of('opened').length === 2)
    expect(inbox.lines.slice(1)).toEqual(['closed INV-001 device', 'opened INV-001 second'])
  })

  test('goes on when the device unsubscribed and subscribed again', async () => {
    const { inbox, raw, packetId } = await deviceWithCommand(true)
    raw.send(unsubscribeFrame(2, COMMANDS))
    await framesSoFar(raw)
    raw.send(subscribeFrame(3, COMMANDS, 2))
    await framesSoFar(raw)
    inbox.releases = true
    raw.send(Buffer.concat([ackFrame('pubrec', packetId), ackFrame('pubcomp', packetId)]))
    await until(() => inbox.of('completed').length === 1)
    expect(inbox.of('closed')).toEqual([])
    expect(inbox.route().publish(inbox.route().newPacketId(), COMMAND, false)).toBe(true)
  })
})

describe('a durable session that comes back', () => {
  test('is known by its name; its route opens with the CONNACK and what is sent then follows it', async () => {
    const { site, inbox, raw } = await deviceWithCommand(false)
    const { session, durable } = inbox.route()
    expect(durable).toBe(true)
    raw.socket.destroy()
    await until(() => inbox.of('closed').length === 1)
    inbox.onOpened = (route) => route.publish(50_000, COMMAND, true)
    const again = await rawDevice(site, { clean: false })
    const [connack, publish, ...rest] = await framesSoFar(again)
    expect(connack).toEqual(Buffer.of(0x20, 2, 1, 0))
    expect(readPublish(publish as Buffer)).toMatchObject({ first: 0x3c, id: 50_000 })
    expect(rest).toEqual([])
    expect(inbox.route().session).toBe(session)
  })

  test('is told PUBREC for a command sent before the cut, once it was sent again', async () => {
    const { site, inbox, raw, packetId } = await deviceWithCommand(false)
    raw.socket.destroy()
    await until(() => inbox.of('closed').length === 1)
    inbox.onOpened = (route) => route.publish(packetId, COMMAND, true)
    inbox.releases = true
    const again = await rawDevice(site, { clean: false })
    await until(() => again.received.length > 4)
    again.send(Buffer.concat([ackFrame('pubrec', packetId), ackFrame('pubcomp', packetId)]))
    await until(() => inbox.of('completed').length === 1)
    expect(inbox.of('received')).toHaveLength(1)
  })

  test('is released again when the cut came between PUBREC and PUBCOMP, across a restart of the gateway', async () => {
    const { site, inbox, raw, packetId } = await deviceWithCommand(false)
    raw.send(ackFrame('pubrec', packetId))
    await until(() => inbox.of('received').length === 1)
    const { session } = inbox.route()
    await stopBroker(site.broker)
    const second = await siteWithInbox({ dir: site.dir })
    second.inbox.onOpened = (route) => route.release(packetId)
    const again = await rawDevice(second.site, { clean: false })
    expect(await framesSoFar(again)).toEqual([Buffer.of(0x20, 2, 1, 0), pubrelFrame(packetId)])
    expect(second.inbox.route().session).toBe(session)
    again.send(ackFrame('pubcomp', packetId))
    await until(() => second.inbox.of('completed').length === 1)
  })

  test('may say PUBREC by itself: the inbox is asked, and what it knows nothing of it releases', async () => {
    const { site, inbox, raw, packetId } = await deviceWithCommand(false)
    raw.socket.destroy()
    await until(() => inbox.of('closed').length === 1)
    inbox.releases = true
    const again = await site.socket()
    // In one piece with CONNECT, so that it is there before anyone could send the command again.
    again.send(Buffer.concat([connectFrame({ clientId: 'device', clean: false }), ackFrame('pubrec', packetId)]))
    await until(() => inbox.of('received').length === 1)
    expect(await framesSoFar(again)).toEqual([Buffer.of(0x20, 2, 1, 0), pubrelFrame(packetId)])
    again.send(ackFrame('pubcomp', packetId))
    await until(() => inbox.of('completed').length === 1)
  })

  test('may do so when it speaks for several devices', async () => {
    const { site, inbox } = await siteWithInbox()
    inbox.releases = true
    const topics = [COMMANDS, 'sites/1/devices/INV-002/commands']
    const raw = await site.socket()
    raw.send(connectFrame({ clientId: 'bench' }))
    for (const topic of topics) raw.send(subscribeFrame(1, topic, 2))
    await until(() => inbox.routes.size === 2)
    await framesSoFar(raw)
    raw.send(ackFrame('pubrec', COMMAND_PACKET_ID_MIN + 7))
    await until(() => inbox.of('received').length === 1)
    expect(await framesSoFar(raw)).toEqual([pubrelFrame(COMMAND_PACKET_ID_MIN + 7)])
  })

  test('has another name when a clean one came between, or when it is new', async () => {
    const { site, inbox, raw } = await deviceWithCommand(false)
    const names = [inbox.route().session]
    for (const clean of [true, false, true, true]) {
      const before = inbox.of('opened').length
      await rawDevice(site, { clean, filter: COMMANDS })
      await until(() => inbox.of('opened').length > before)
      names.push(inbox.route().session)
    }
    expect(new Set(names).size).toBe(5)
    await until(() => raw.closed)
  })
})

describe('a clean session', () => {
  test('begins anew after a cut; an answer to what was before is let finish', async () => {
    const { site, inbox, raw, packetId } = await deviceWithCommand(true)
    raw.send(DISCONNECT)
    await until(() => inbox.of('closed').length === 1)
    const again = await rawDevice(site, { filter: COMMANDS })
    await framesSoFar(again)
    inbox.releases = true
    again.send(ackFrame('pubrec', packetId))
    await until(() => inbox.of('received').length === 1)
    expect(await framesSoFar(again)).toEqual([pubrelFrame(packetId)])
  })
})

describe('an acknowledgement of nothing', () => {
  test.each([
    ['a low identifier', COMMANDS, 7],
    ['a high identifier, of a client that takes no commands', 'sites/+/devices/+/#', COMMAND_PACKET_ID_MIN + 7],
  ])('is answered so that the client can finish [MQTT-4.3.3-1]: %s', async (_title, filter, id) => {
    for (const clean of [true, false]) {
      const { site, inbox } = await siteWithInbox()
      const raw = await rawDevice(site, { filter, clean })
      await framesSoFar(raw)
      raw.send(ackFrame('pubrec', id))
      await until(() => raw.received.length === 4)
      expect(await framesSoFar(raw)).toEqual([pubrelFrame(id)])
      raw.send(Buffer.concat([ackFrame('pubcomp', id), ackFrame('puback', id)]))
      expect(await framesSoFar(raw)).toEqual([])
      expect(inbox.of('received')).toEqual([])
      expect(raw.closed).toBe(false)
    }
  })
})

test('a device that says nothing but PUBREC is not cut for its silence', async () => {
  const { site, inbox } = await siteWithInbox()
  const raw = await site.socket()
  raw.send(Buffer.concat([connectFrame({ keepalive: 1 }), subscribeFrame(1, COMMANDS, 2)]))
  await until(() => inbox.routes.size === 1)
  const packetId = inbox.route().newPacketId()
  inbox.route().publish(packetId, COMMAND, false)
  const since = performance.now()
  while (performance.now() - since < 2500) {
    raw.send(ackFrame('pubrec', packetId))
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  expect(raw.closed).toBe(false)
})

test('a device that does not read its commands is cut at the limit, like any other', async () => {
  const limits = { slowSubscriberMs: 60_000, unreadCutBytes: 512 * 1024 }
  const { site, inbox } = await siteWithInbox({ limits })
  const raw = await rawDevice(site, { filter: COMMANDS, qos: 0 })
  raw.socket.pause()
  const route = inbox.route()
  const large = Buffer.alloc(64 * 1024, 'x')
  let sent = 0
  await until(
    () => {
      if (route.publish(0, large, false)) sent++
      return inbox.of('closed').length === 1
    },
    { pollMs: 1 },
  )
  expect(site.broker.stats().refused['not-reading']).toBe(1)
  expect(sent).toBeGreaterThan(8)
  expect(route.publish(0, large, false)).toBe(false)
})
