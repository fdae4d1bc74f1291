import { describe, expect, test } from 'vitest'
import { startChild } from '../../support/child.ts'
import { describeWith } from '../../support/real-parts.ts'
import { until } from '../../support/until.ts'
import { CommandRecorder } from './support/command-recorder.ts'
import {
  COMMAND,
  COMMANDS,
  DEVICE,
  DEVICE_TOPICS,
  EVERYTHING,
  messagesOf,
  send,
  siteWithDevice,
  subscriber,
} from './support/commands.ts'
import { type Login, startSite, stopBroker } from './support/site.ts'

describe('a command', () => {
  test('reaches a device that asked for QoS 2 once it was released, and is completed', async () => {
    const { site, login, inbox } = await siteWithDevice()
    const { messages } = await subscriber(site, login)
    inbox.releases = false
    expect(inbox.route()).toMatchObject({ qos: 2, durable: false })
    const packetId = send(site, inbox)
    await until(() => inbox.of('received').length === 1)
    // A client that is sure to hand on once only does so at PUBREL.
    expect(messages).toEqual([])
    inbox.route().release(packetId)
    await until(() => inbox.of('completed').length === 1)
    expect(messages).toEqual([`${COMMANDS} 2 ${COMMAND}`])
    expect(inbox.of('completed')).toEqual([`completed INV-001 ${packetId}`])
  })

  test.each([1, 0] as const)('reaches a device that asked for QoS %i', async (qos) => {
    const { site, login, inbox } = await siteWithDevice()
    const { messages } = await subscriber(site, login, COMMANDS, qos)
    expect(inbox.route().qos).toBe(qos)
    const packetId = send(site, inbox)
    await until(() => messages.length === 1)
    expect(messages).toEqual([`${COMMANDS} ${qos} ${COMMAND}`])
    if (qos === 1) await until(() => inbox.of('completed').length === 1)
    expect(inbox.lines.slice(1)).toEqual(qos === 1 ? [`completed INV-001 ${packetId}`] : [])
  })

  test('follows the QoS when the device asks for another', async () => {
    const { site, login, inbox } = await siteWithDevice()
    const { client, messages } = await subscriber(site, login, COMMANDS, 1)
    await client.subscribeAsync(COMMANDS, { qos: 2 })
    expect(inbox.route().qos).toBe(2)
    send(site, inbox)
    await until(() => messages.length === 1)
    expect(messages).toEqual([`${COMMANDS} 2 ${COMMAND}`])
    expect(inbox.of('opened')).toHaveLength(1)
  })

  test('has nowhere to go after unsubscribing, and after the connection ended', async () => {
    const { site, login, inbox } = await siteWithDevice()
    const { client } = await subscriber(site, { ...login, clientId: 'd' })
    const route = inbox.route()
    await client.unsubscribeAsync(COMMANDS)
    expect(inbox.lines).toEqual(['opened INV-001 d', 'closed INV-001 d'])
    expect(route.publish(route.newPacketId(), COMMAND, false)).toBe(false)
    await client.subscribeAsync(COMMANDS, { qos: 2 })
    client.stream.destroy()
    await until(() => inbox.lines.length === 4)
    expect(inbox.lines.slice(2)).toEqual(['opened INV-001 d', 'closed INV-001 d'])
  })

  test('goes to one of two connections, and to the other when the first is gone', async () => {
    const { site, login, inbox } = await siteWithDevice()
    const first = await subscriber(site, { ...login, clientId: 'first' })
    const second = await subscriber(site, { ...login, clientId: 'second' })
    expect(inbox.lines).toEqual(['opened INV-001 first'])
    send(site, inbox)
    await until(() => inbox.of('completed').length === 1)
    await first.client.endAsync()
    await until(() => inbox.of('opened').length === 2)
    expect(inbox.lines.slice(-2)).toEqual(['closed INV-001 first', 'opened INV-001 second'])
    send(site, inbox)
    await until(() => second.messages.length > 0)
    expect(first.messages).toHaveLength(1)
    expect(second.messages).toHaveLength(1)
  })

  test('goes to whoever took the client id over', async () => {
    const { site, login, inbox } = await siteWithDevice()
    await subscriber(site, { ...login, clientId: 'same' })
    const before = inbox.route()
    const { messages } = await subscriber(site, { ...login, clientId: 'same' })
    expect(inbox.lines).toEqual(['opened INV-001 same', 'closed INV-001 same', 'opened INV-001 same'])
    expect(inbox.route().session).not.toBe(before.session)
    expect(before.publish(before.newPacketId(), COMMAND, false)).toBe(false)
    send(site, inbox)
    await until(() => messages.length === 1)
  })

  test('is no longer sent when the broker stops', async () => {
    const { site, login, inbox } = await siteWithDevice()
    await subscriber(site, { ...login, clientId: 'd' })
    const route = inbox.route()
    const stopped = stopBroker(site.broker)
    await until(() => inbox.of('closed').length === 1)
    expect(route.publish(route.newPacketId(), COMMAND, false)).toBe(false)
    await stopped
    expect(inbox.lines).toEqual(['opened INV-001 d', 'closed INV-001 d'])
  })
})

describe('whoever watches commands', () => {
  test('is never their target, and gets copies with QoS 0', async () => {
    const { site, login, inbox } = await siteWithDevice()
    const watchers: { messages: string[] }[] = []
    for (const role of ['observer', 'operator'] as const) {
      const watcher = site.login({ role, username: role })
      watchers.push(await subscriber(site, watcher, COMMANDS, 2), await subscriber(site, watcher, EVERYTHING, 2))
    }
    expect(inbox.lines).toEqual([])
    const device = await subscriber(site, login)
    const other = await subscriber(site, { ...login, clientId: 'other' })
    send(site, inbox)
    await until(() => watchers.every(({ messages }) => messages.length === 1))
    for (const { messages } of watchers) expect(messages).toEqual([`${COMMANDS} 0 ${COMMAND}`])
    await until(() => device.messages.length === 1)
    expect(device.messages).toEqual([`${COMMANDS} 2 ${COMMAND}`])
    expect(other.messages).toEqual([])
  })

  test('gets none later: a durable session that is away misses them, the device itself too', async () => {
    const { site, login, inbox } = await siteWithDevice()
    const observer = { ...site.login({ role: 'observer', username: 'o' }), clientId: 'o', clean: false }
    await (await subscriber(site, observer, EVERYTHING)).client.endAsync()
    const device = { ...login, clientId: 'd', clean: false }
    await (await subscriber(site, device)).client.endAsync()
    await until(() => inbox.of('closed').length === 1)
    site.broker.commands.show(DEVICE, COMMAND)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(site.broker.stats().queuedMessages).toBe(0)
    const back = [await site.client(observer), await site.client(device)].map(messagesOf)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(back).toEqual([[], []])
  })

  test('may be a local client, unless it subscribed to exactly that topic: then it is the device', async () => {
    const inbox = new CommandRecorder()
    const site = await startSite({ commands: inbox })
    const watcher = await subscriber(site, { clientId: 'watcher' }, 'sites/+/devices/+/commands')
    expect(inbox.lines).toEqual([])
    const both = await subscriber(site, { clientId: 'both' }, EVERYTHING)
    await both.client.subscribeAsync(COMMANDS, { qos: 2 })
    expect(inbox.lines).toEqual(['opened INV-001 both'])
    const packetId = send(site, inbox)
    await until(() => inbox.of('completed').length === 1 && watcher.messages.length === 1)
    expect(both.messages).toEqual([`${COMMANDS} 2 ${COMMAND}`])
    expect(watcher.messages).toEqual([`${COMMANDS} 0 ${COMMAND}`])
    expect(inbox.lines.slice(1)).toEqual([`received INV-001 ${packetId}`, `completed INV-001 ${packetId}`])
    await both.client.unsubscribeAsync(COMMANDS)
    site.broker.commands.show(DEVICE, COMMAND)
    await until(() => both.messages.length === 2)
  })

  test('can speak for several devices on one connection', async () => {
    const inbox = new CommandRecorder()
    const site = await startSite({ commands: inbox })
    const { client, messages } = await subscriber(site, { clientId: 'bench' })
    const topics = Array.from({ length: 20 }, (_, i) => `sites/2/devices/MTR-${i}/commands`)
    await client.subscribeAsync(topics, { qos: 2 })
    const ids = topics.map((_, i) => {
      const route = inbox.route(`MTR-${i}`)
      const id = route.newPacketId()
      route.publish(id, COMMAND, false)
      return id
    })
    expect(new Set(ids).size).toBe(20)
    await until(() => inbox.of('completed').length === 20)
    expect(messages.map((line) => line.split(' ')[0]).sort()).toEqual([...topics].sort())
    await client.endAsync()
    await until(() => inbox.of('closed').length === 21)
  })
})

describe('what a device answers', () => {
  test.each([0, 1, 2] as const)('with QoS %i is told, and stored as ever', async (qos) => {
    const { site, login, inbox } = await siteWithDevice()
    const client = await site.client(login)
    await client.publishAsync(`${DEVICE_TOPICS}/responses`, '{"commandId":"c"}', { qos })
    await until(() => site.log.of(`${DEVICE_TOPICS}/responses`).length === 1)
    expect(inbox.answers).toEqual(['1/INV-001 {"commandId":"c"}'])
    await client.publishAsync(`${DEVICE_TOPICS}/telemetry`, '{}', { qos: 1 })
    expect(inbox.answers).toHaveLength(1)
  })

  test('is not told when it speaks for another device', async () => {
    const { site, login, inbox } = await siteWithDevice()
    const client = await site.client(login)
    client.publish('sites/1/devices/INV-002/responses', '{}', { qos: 1 })
    await until(() => !client.connected)
    expect(inbox.answers).toEqual([])
  })
})

describeWith(['mosquitto_sub'], 'the tools of Mosquitto', ({ mosquitto_sub }) => {
  test('are a device that takes commands and a watcher that sees them', async () => {
    const { site, login, inbox } = await siteWithDevice()
    const start = ({ username, password }: Login, ...rest: string[]) =>
      startChild({
        command: [mosquitto_sub, '-p', String(site.port), '-u', username, '-P', password, '-q', '2', ...rest],
      })
    const observer = site.login({ role: 'observer', username: 'o' })
    const watcher = start(observer, '-t', 'sites/+/devices/+/commands', '-t', `${DEVICE_TOPICS}/telemetry`)
    const probe = await site.client(login)
    await until(async () => {
      const { publishesDirect } = site.broker.stats()
      await probe.publishAsync(`${DEVICE_TOPICS}/telemetry`, '{}', { qos: 1 })
      // Someone watches once a message no longer takes the short way.
      return site.broker.stats().publishesDirect === publishesDirect
    })
    const device = start(login, '-t', COMMANDS, '-C', '3')
    await until(() => inbox.routes.size === 1)
    for (let i = 1; i <= 3; i++) {
      send(site, inbox, Buffer.from(`command ${i}`))
      await until(() => inbox.of('completed').length === i)
    }
    await device.exited
    expect(device.output()).toBe('command 1\ncommand 2\ncommand 3\n')
    await watcher.kill('SIGTERM')
    expect(watcher.output()).toBe('{}\ncommand 1\ncommand 2\ncommand 3\n')
  })
})
