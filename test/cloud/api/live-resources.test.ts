import { expect, onTestFinished, test } from 'vitest'
import type { ApiOptions } from '../../../cloud/api/api.ts'
import { commandFeed, taskFeed } from '../../../cloud/api/socket/change-feed.ts'
import { Outbox } from '../../../cloud/bus/outbox.ts'
import { CommandService } from '../../../cloud/commands/commands.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { DeviceCommands } from '../../../cloud/gateways/gateways.ts'
import { Tasks } from '../../../cloud/orchestration/orchestration.ts'
import { Registry } from '../../../cloud/registry/registry.ts'
import { systemClock as clock } from '../../../shared/clock.ts'
import { silentLogger as log } from '../../../shared/log.ts'
import { systemRandom as random } from '../../../shared/random.ts'
import { startApiCore } from '../../support/api-core.ts'
import { type DatabaseUnderTest, describeOnEveryDatabase } from '../../support/databases.ts'
import { getJson } from '../../support/json-request.ts'
import { LiveTestClient } from '../../support/live-client.ts'
import { TestLogins } from '../../support/test-logins.ts'
import { until } from '../../support/until.ts'

const SETTINGS = {
  allowUnknownTypes: true,
  allowUnknownDevices: true,
  payloadBytesMax: 16_384,
  expiryMs: 60_000,
  timeoutMs: 1_000,
  keptDays: 1,
}
const TASK_SETTINGS = { ...SETTINGS, devicesMax: 100, concurrency: 10, leaseMs: 10_000 }

await describeOnEveryDatabase('the live channel of commands', (databases) => {
  test('shows, on any core, what a filter names and then every change of it, as REST shows it', async () => {
    const { here, there, url } = await twoCores(databases)
    const before = await there.commands.create({ deviceId: 'MTR-001', siteId: 1, name: 'REBOOT' })
    const client = await LiveTestClient.connect(here.webSocketUrl)
    const filter = { commandId: before.id }
    await client.ask({ type: 'subscribe', id: 'a', channel: 'commands', filter }, 'subscribed')
    await until(() => client.events.length === 1)
    expect(client.events[0]).toMatchObject({
      channel: 'commands',
      data: { id: before.id, delivery: { state: 'QUEUED' } },
    })
    expect(client.frames.map(({ type }) => type)).toEqual(['subscribed', 'event'])

    await there.report(before.id, 'MTR-001', 'DELIVERED')
    await until(() => client.events.length === 2)
    await there.report(before.id, 'MTR-001', 'SUCCEEDED')
    await until(() => client.events.length === 3)
    expect(client.events.map(({ data }) => data.delivery.state)).toEqual(['QUEUED', 'DELIVERED', 'SUCCEEDED'])
    expect(client.events.at(-1)?.data).toEqual((await getJson(`${url}/api/v1/commands/${before.id}`)).body)
  })

  test('selects by device, serial number and site, and gives each command once to a client that asked in several ways', async () => {
    const { here, there } = await twoCores(databases)
    const subscribed = async (...filters: object[]) => {
      const client = await LiveTestClient.connect(here.webSocketUrl)
      for (const [i, filter] of filters.entries()) {
        await client.ask({ type: 'subscribe', id: `s${i}`, channel: 'commands', filter }, 'subscribed')
      }
      return client
    }
    const [meter] = await there.registry.load('gw-1', [{ siteId: 1, serialNumber: 'MTR-001' }])
    const everything = await subscribed({}, {}, { siteId: 1 }, { serialNumber: 'MTR-001' })
    const device = await subscribed({ deviceId: meter?.deviceId })
    expect(meter).toBeTruthy()
    const serial = await subscribed({ serialNumber: 'MTR-001' })
    const site = await subscribed({ siteId: 2 })
    const ids: string[] = []
    for (const [deviceId, siteId] of [
      ['MTR-001', 1],
      ['MTR-001', 2],
      ['MTR-002', 1],
    ] as const) {
      ids.push((await there.commands.create({ deviceId, siteId, name: 'REBOOT' })).id)
    }
    await there.commands.create({ deviceId: 'NOBODY', name: 'REBOOT' })
    await until(() => everything.events.length === 4 && serial.events.length === 2)
    await until(() => device.events.length === 1 && site.events.length === 1)
    expect(device.events[0]?.data.id).toBe(ids[0])
    expect(serial.events.map(({ data }) => data.id).toSorted()).toEqual([ids[0], ids[1]].toSorted())
    expect(site.events[0]?.data.id).toBe(ids[1])
    expect(everything.events.find(({ data }) => data.device_id === 'NOBODY')?.data.delivery).toBeNull()
  })

  test('begins with the newest hundred, the newest last', async () => {
    const { here, there } = await twoCores(databases)
    const ids: string[] = []
    for (let i = 0; i < 103; i++) ids.push((await there.commands.create({ deviceId: `dev-${i}`, name: 'x' })).id)
    const client = await LiveTestClient.connect(here.webSocketUrl)
    await client.ask({ type: 'subscribe', id: 'a', channel: 'commands' }, 'subscribed')
    await until(() => client.events.length >= 100)
    const created = client.events.map(({ data }) => Date.parse(data.created_at))
    expect(created).toEqual(created.toSorted((a, b) => a - b))
    expect(client.events).toHaveLength(100)
    expect(client.events.every(({ data }) => ids.includes(data.id))).toBe(true)
  })

  test('tasks have a channel of the same kind, of one or of all', async () => {
    const { here, there, url } = await twoCores(databases)
    const startAt = new Date(clock.wallMs() + 3_600_000).toISOString()
    const create = (serialNumber: string) =>
      there.tasks.create({
        commandType: 'REBOOT',
        deviceIds: [serialNumber],
        siteId: 1,
        requestedBy: 'op-1',
        options: { start_at: startAt },
      })
    const before = await create('MTR-001')
    const [one, all] = [
      await LiveTestClient.connect(here.webSocketUrl),
      await LiveTestClient.connect(here.webSocketUrl),
    ]
    const filter = { taskId: before.taskId }
    await one.ask({ type: 'subscribe', id: 'a', channel: 'tasks', filter }, 'subscribed')
    await all.ask({ type: 'subscribe', id: 'a', channel: 'tasks' }, 'subscribed')
    await until(() => one.events.length === 1 && all.events.length === 1)
    expect(one.events[0]).toMatchObject({ channel: 'tasks', data: { taskId: before.taskId, state: 'SCHEDULED' } })

    await create('MTR-002')
    await until(() => all.events.length === 2)
    await there.tasks.cancel(before.taskId, 'a mistake')
    await until(() => one.events.length === 2 && all.events.length === 3)
    expect(one.events[1]?.data).toEqual((await getJson(`${url}/api/v1/tasks/${before.taskId}`)).body)
    expect(one.events[1]?.data).toMatchObject({ state: 'CANCELLING', reason: 'a mistake', tally: { QUEUED: 1 } })
  })

  test('shows who may see some sites what is there and what changes at those, and what they asked for', async () => {
    const logins = new TestLogins()
    const { here, there } = await twoCores(databases, { authentication: logins })
    const atOne = await there.commands.create({ deviceId: 'MTR-001', siteId: 1, name: 'REBOOT' })
    // More than are shown at first: those of other sites must not take their place.
    for (let i = 0; i < 101; i++) await there.commands.create({ deviceId: 'MTR-001', siteId: 2, name: 'REBOOT' })
    await there.commands.create({ deviceId: 'nobody-knows', name: 'x' })
    const ask = (siteIds: number[], requestedBy: string) => {
      const devices = siteIds.map((siteId) => ({ siteId, serialNumber: 'MTR-001' }))
      return Promise.all(
        devices.map(({ siteId, serialNumber }) =>
          there.tasks.create({ commandType: 'REBOOT', deviceIds: [serialNumber], siteId, requestedBy }),
        ),
      )
    }
    const [taskAtOne] = await ask([1], 'bob')
    const [, asked] = [await ask([2], 'bob'), ...(await ask([2], 'ann'))]
    const token = logins.add('ann', [{ role: 'viewer', siteId: 1 }])
    const client = await LiveTestClient.connect(here.webSocketUrl, { token })
    for (const channel of ['commands', 'tasks']) {
      await client.ask({ type: 'subscribe', id: channel, channel }, 'subscribed')
    }
    const seen = () => client.events.map(({ data }) => data.id ?? data.taskId)
    await until(() => seen().length === 3)
    expect(seen().toSorted()).toEqual([atOne.id, taskAtOne?.taskId, asked?.taskId].toSorted())
    await there.commands.create({ deviceId: 'MTR-001', siteId: 2, name: 'REBOOT' })
    await ask([2], 'bob')
    const [later] = await ask([1], 'bob')
    const last = await there.commands.create({ deviceId: 'MTR-002', siteId: 1, name: 'REBOOT' })
    await until(() => seen().length === 5)
    expect(seen().slice(3).toSorted()).toEqual([last.id, later?.taskId].toSorted())
  })

  test('ends with its subscription', async () => {
    const { here, there } = await twoCores(databases)
    const client = await LiveTestClient.connect(here.webSocketUrl)
    for (const id of ['a', 'b']) await client.ask({ type: 'subscribe', id, channel: 'commands' }, 'subscribed')
    await client.ask({ type: 'unsubscribe', id: 'a' }, 'unsubscribed')
    await there.commands.create({ deviceId: 'dev-1', name: 'x' })
    await until(() => client.events.length === 1)
    await client.ask({ type: 'unsubscribe', id: 'b' }, 'unsubscribed')
    await there.commands.create({ deviceId: 'dev-2', name: 'x' })
    await client.ask(
      { type: 'subscribe', id: 'c', channel: 'commands', filter: { serialNumber: 'dev-3' } },
      'subscribed',
    )
    await there.commands.create({ deviceId: 'dev-3', name: 'x' })
    await until(() => client.events.length === 2)
    expect(client.events.map(({ data }) => data.device_id)).toEqual(['dev-1', 'dev-3'])
    expect(here.api.stats()).toMatchObject({ subscriptions: 1, following: false })
  })
})

test('a filter that a channel does not have, and a channel that a core does not have, are refused', async () => {
  const core = await startApiCore()
  const client = await LiveTestClient.connect(core.webSocketUrl)
  const ask = (channel: string, filter: object) => client.ask({ type: 'subscribe', id: 'a', channel, filter }, 'error')
  expect(await ask('tasks', { serialNumber: 'MTR-001' })).toMatchObject({
    code: 'FRAME_INVALID',
    hint: '/filter/serialNumber: leave it out; tasks has taskId',
  })
  expect(await ask('telemetry', { commandId: 'cmd-00000000' })).toMatchObject({ code: 'FRAME_INVALID' })
  expect(await ask('commands', { commandId: 'nonsense' })).toMatchObject({ code: 'FRAME_INVALID' })
  expect(await ask('commands', {})).toMatchObject({ code: 'RESOURCES_UNAVAILABLE' })
  await client.ask({ type: 'subscribe', id: 'a', channel: 'telemetry' }, 'subscribed')
})

/** Two cores of one database: the one that clients are connected to, and one that writes. */
async function twoCores(databases: DatabaseUnderTest, options: Partial<ApiOptions> = {}) {
  const url = await databases.freshUrl()
  const [ours, theirs] = [await databases.open({ url }), await databases.open({ url })]
  const [readers, writers] = [servicesOn(ours), servicesOn(theirs)]
  const { commands, tasks } = readers
  const feeds = { commands: commandFeed(commands), tasks: taskFeed(tasks) }
  const here = await startApiCore({ commands, tasks, feeds, ...options }, url)
  await writers.registry.load('gw-1', [
    { siteId: 1, serialNumber: 'MTR-001' },
    { siteId: 2, serialNumber: 'MTR-001' },
    { siteId: 1, serialNumber: 'MTR-002' },
  ])
  return { here, there: writers, url: here.url }
}

function servicesOn(database: DatabaseHandle) {
  const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, clock, log })
  const outbox = new Outbox({ database, clock })
  const deviceCommands = new DeviceCommands({ database, outbox, clock })
  const common = { database, outbox, deviceCommands, registry, clock, random, log }
  const commands = new CommandService({ ...common, settings: SETTINGS })
  const tasks = new Tasks({ ...common, settings: TASK_SETTINGS })
  onTestFinished(async () => {
    await commands.stop()
    await registry.stop()
  })
  return {
    registry,
    commands,
    tasks,
    /** What a gateway's record says of a command. */
    report: (commandId: string, serialNumber: string, state: 'DELIVERED' | 'SUCCEEDED') =>
      database.transaction((transaction) => {
        const report = { commandId, gatewayId: 'gw-1', siteId: 1, serialNumber, state, payload: null, reason: null }
        const record = { receivedAtMs: clock.wallMs(), value: Buffer.from('{}'), headers: {} }
        return deviceCommands.record([{ ...report, ...record }], transaction)
      }),
  }
}
