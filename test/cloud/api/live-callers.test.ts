import { expect, test } from 'vitest'
import type { Change, ChangeFeed } from '../../../cloud/api/socket/change-feed.ts'
import { filterKey, keysOf } from '../../../cloud/api/socket/filter.ts'
import { maySee } from '../../../cloud/api/socket/visibility.ts'
import type { Grant } from '../../../cloud/identity/identity.ts'
import { type ApiCore, startApiCore } from '../../support/api-core.ts'
import { getJson } from '../../support/json-request.ts'
import { LiveTestClient } from '../../support/live-client.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { TestLogins } from '../../support/test-logins.ts'
import { until } from '../../support/until.ts'

const at = (...siteIds: (number | 'all')[]): Grant[] => siteIds.map((siteId) => ({ role: 'viewer', siteId }))
const subscribe = (id: string, channel: string, filter: object = {}) => ({ type: 'subscribe', id, channel, filter })

let sequence = 1

/** Devices 10, 20, 30 … with one serial number are at sites 1, 2, 3 …. */
async function publish(core: ApiCore, ...siteIds: number[]): Promise<void> {
  const records = siteIds.map((siteId) => ({
    key: 'INV-001',
    value: JSON.stringify({ deviceId: siteId * 10, serialNumber: 'INV-001', siteId, telemetryData: {} }),
    headers: { gateway: 'gw', seq: String(sequence++) },
  }))
  await core.bus.publish('device-telemetry', records)
}

const sitesOf = (client: LiveTestClient): number[] => client.events.map(({ data }) => data.siteId)

async function start(options: Parameters<typeof startApiCore>[0] = {}) {
  const logins = new TestLogins()
  const core = await startApiCore({ authentication: logins, recheckMs: 20, ...options })
  const connect = (token: string) => LiveTestClient.connect(core.webSocketUrl, { token })
  /** What is published before it has been handed out when it has come. */
  const watcher = await connect(logins.add('watcher', at('all')))
  await watcher.ask(subscribe('all', 'telemetry'), 'subscribed')
  const settle = async () => {
    const last = sequence
    await publish(core, 999)
    await until(() => watcher.events.some(({ seq }) => seq === last))
  }
  return { logins, core, connect, watcher, settle }
}

/** A feed of changes that a test makes. */
function feedOf(): { readonly feed: ChangeFeed; readonly rows: Map<string, Change> } {
  const rows = new Map<string, Change>()
  return {
    rows,
    feed: {
      changedSince: async (sinceMs) => [...rows.values()].filter(({ changedAtMs }) => changedAtMs >= sinceMs),
      present: async (filter, limit, viewer) =>
        [...rows.values()].filter((row) => row.keys.includes(filterKey(filter)) && maySee(viewer, row)).slice(-limit),
    },
  }
}

const change = (id: string, sites: readonly number[] | null, askedBy: string | null = null): Change => {
  return { id, changedAtMs: Date.now(), keys: keysOf({ taskId: id }), sites, askedBy, body: { id } }
}

test('whoever may see some sites gets the events of those, whatever the filter', async () => {
  const { logins, core, connect, settle, watcher } = await start()
  const token = logins.add('ann', at(1, 2))
  const filters = [{}, { siteId: 2 }, { deviceId: 10 }, { deviceId: 30 }, { serialNumber: 'INV-001' }]
  const clients: LiveTestClient[] = []
  for (const filter of filters) {
    const client = await connect(token)
    await client.ask(subscribe('a', 'telemetry', filter), 'subscribed')
    clients.push(client)
  }
  await publish(core, 1, 2, 3, 1, 3)
  await settle()
  await until(() => clients[0]?.events.length === 3)
  expect(clients.map(sitesOf)).toEqual([[1, 2, 1], [2], [1, 1], [], [1, 2, 1]])
  expect(sitesOf(watcher)).toEqual([1, 2, 3, 1, 3, 999])
})

test('one who subscribed in several ways gets an event once, and one of more sites than are kept apart gets its own', async () => {
  const { logins, core, connect, settle } = await start()
  const many = await connect(logins.add('many', at(...Array.from({ length: 150 }, (_, i) => i + 2))))
  await many.ask(subscribe('a', 'telemetry'), 'subscribed')
  await many.ask(subscribe('b', 'telemetry', { siteId: 2 }), 'subscribed')
  await many.ask(subscribe('c', 'telemetry', { serialNumber: 'INV-001' }), 'subscribed')
  await publish(core, 1, 2, 151, 152)
  await settle()
  expect(sitesOf(many)).toEqual([2, 151])
})

test('a site that may not be seen is refused in the words for one that there is not; so is what is for others', async () => {
  const { logins, core, connect } = await start()
  await core.registry.load('gw-1', [{ siteId: 2, serialNumber: 'INV-001' }])
  const client = await connect(logins.add('ann', at(1)))
  const refused = async (channel: string, filter: object) => {
    const { code, message, hint } = await client.ask(subscribe('a', channel, filter), 'error')
    expect(hint).toBeTruthy()
    return `${code} ${message}`
  }
  const there = await refused('telemetry', { siteId: 2 })
  expect(there).toBe('ROLE_MISSING This needs the role viewer at site 2.')
  expect(await refused('telemetry', { siteId: 77 })).toBe(there.replace('2', '77'))
  expect(await refused('notifications', { userId: 'bob' })).toMatch(/^FORBIDDEN /)
  expect(await refused('unread', { userId: 'bob' })).toMatch(/^FORBIDDEN /)
  await client.ask(subscribe('a', 'notifications', { userId: 'ann' }), 'subscribed')
})

test('an API key needs the scope of the channel, and none for the socket itself', async () => {
  const { logins, connect } = await start()
  const key = logins.add('api-key:1', at('all'), ['telemetry:read'])
  const client = await connect(key)
  await client.ask(subscribe('a', 'telemetry'), 'subscribed')
  expect(await client.ask(subscribe('b', 'status'), 'error')).toMatchObject({ code: 'SCOPE_MISSING' })
  const everything = await connect(logins.add('api-key:2', at('all'), ['*:read']))
  await everything.ask(subscribe('b', 'status'), 'subscribed')
  const writer = await connect(logins.add('api-key:3', at('all'), ['telemetry:write']))
  expect(await writer.ask(subscribe('b', 'telemetry'), 'error')).toMatchObject({ code: 'SCOPE_MISSING' })
})

test('a resource of several sites is seen by who sees all of them, or asked for it; what there is already likewise', async () => {
  const { feed, rows } = feedOf()
  const { logins, connect } = await start({ feeds: { tasks: feed } })
  const put = (...changes: Change[]) => {
    for (const each of changes) rows.set(each.id, each)
  }
  put(change('one', [1]), change('both', [1, 2]), change('asked', [2], 'ann'), change('nowhere', null))
  const ids = (client: LiveTestClient) => client.events.map(({ data }) => data.id)
  const clients: LiveTestClient[] = []
  for (const token of [logins.add('ann', at(1)), logins.add('bob', at(1, 2)), logins.add('eve', at('all'))]) {
    const client = await connect(token)
    await client.ask(subscribe('a', 'tasks'), 'subscribed')
    clients.push(client)
  }
  const [ann, bob, eve] = clients as [LiveTestClient, LiveTestClient, LiveTestClient]
  await until(() => eve.events.length === 4)
  expect(ids(ann)).toEqual(['one', 'asked'])
  expect(ids(bob)).toEqual(['one', 'both', 'asked'])
  put(change('both2', [2, 1]), change('asked2', null, 'ann'), change('empty', []), change('one2', [1]))
  await until(() => eve.events.length === 8)
  expect(ids(ann).slice(2)).toEqual(['asked2', 'one2'])
  expect(ids(bob).slice(3)).toEqual(['both2', 'one2'])
})

test('a role that is taken ends what it allowed, with a frame; the rest goes on with what is allowed now', async () => {
  const { feed, rows } = feedOf()
  const [task1, task2] = ['1'.repeat(24), '2'.repeat(24)]
  rows.set(task1, change(task1, [1]))
  rows.set(task2, change(task2, [2]))
  const { logins, core, connect, settle } = await start({ feeds: { tasks: feed } })
  const [one, two] = await core.registry.load('gw-1', [
    { siteId: 1, serialNumber: 'X-1' },
    { siteId: 2, serialNumber: 'X-2' },
  ])
  const client = await connect(logins.add('ann', at('all')))
  const wishes: [string, string, object][] = [
    ['everything', 'telemetry', {}],
    ['site 1', 'telemetry', { siteId: 1 }],
    ['site 2', 'telemetry', { siteId: 2 }],
    ['device at 1', 'status', { deviceId: one?.deviceId }],
    ['device at 2', 'status', { deviceId: two?.deviceId }],
    ['task at 1', 'tasks', { taskId: task1 }],
    ['task at 2', 'tasks', { taskId: task2 }],
    ['mine', 'notifications', { userId: 'ann' }],
  ]
  for (const [id, channel, filter] of wishes) {
    await client.ask(subscribe(id, channel, filter), 'subscribed')
  }
  logins.add('ann', at(2))
  const ended = () => client.frames.filter(({ type }) => type === 'ended')
  await until(() => ended().length === 3)
  expect(
    ended()
      .map(({ id }) => id)
      .toSorted(),
  ).toEqual(['device at 1', 'site 1', 'task at 1'])
  for (const frame of ended()) {
    expect(frame).toMatchObject({ code: 'ROLE_MISSING', message: expect.any(String), hint: expect.any(String) })
  }
  await publish(core, 1, 2, 3)
  await settle()
  const readings = () => client.events.filter(({ channel }) => channel === 'telemetry').map(({ data }) => data.siteId)
  expect(readings()).toEqual([2])
  // Given back, what is left shows it again.
  logins.add('ann', at('all'))
  await until(async () => {
    await publish(core, 1)
    return readings().includes(1)
  })
  expect(core.api.stats().subscriptions).toBe(6)
  expect(client.closeCode).toBeNull()
})

test('when a login ends its sockets are closed with 4401, and nobody else is; each caller is asked about once', async () => {
  const { logins, core, connect, watcher } = await start()
  const token = logins.add('ann', at(1))
  const clients = [await connect(token), await connect(token), await connect(token)]
  await until(() => logins.rechecks.some((names) => names.length === 2))
  expect(logins.rechecks.at(-1)?.toSorted()).toEqual(['ann', 'watcher'])
  logins.end(token)
  await until(() => clients.every(({ closeCode }) => closeCode !== null))
  expect(clients.map(({ closeCode, closeReason }) => [closeCode, closeReason])).toEqual(
    clients.map(() => [4401, 'the login has ended: log in again']),
  )
  expect(watcher.closeCode).toBeNull()
  await until(() => core.api.stats().clients === 1)
  expect(await core.metrics.metrics()).toContain('busbar_api_clients_cut_total{reason="login-ended"} 3')
})

test('while nobody can be looked up sockets stay for a while, and then go', async () => {
  const clock = new ManualClock(Date.now())
  const limits = { recheckGraceMs: 60_000 }
  const { logins, watcher } = await start({ clock, recheckMs: 1000, limits })
  logins.failing = new Error('the database is away')
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 1000) {
      const asked = logins.rechecks.length
      clock.advance(1000)
      await until(() => logins.rechecks.length > asked || watcher.closeCode !== null)
    }
  }
  await pass(50_000)
  await watcher.ask({ type: 'ping', id: 'p' }, 'pong')
  logins.failing = null
  await pass(2_000)
  logins.failing = new Error('the database is away')
  await pass(58_000)
  await watcher.ask({ type: 'ping', id: 'q' }, 'pong')
  clock.advance(10_000)
  await until(() => watcher.closeCode !== null)
  expect(watcher.closeCode).toBe(1013)
})

test('one caller has so many sockets and no more; others are not held up by it', async () => {
  const { logins, core, connect } = await start({ limits: { socketsPerCallerMax: 2 } })
  const token = logins.add('ann', at(1))
  const first = await connect(token)
  await connect(token)
  const handshake = {
    ...{ connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' },
    ...{ 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', authorization: `Bearer ${token}` },
  }
  const refused = await getJson(`${core.url}/api/v1/ws`, handshake)
  expect([refused.status, refused.body.code]).toEqual([429, 'CALLER_CLIENTS_MAX'])
  expect((await connect(logins.add('bob', at(1)))).closeCode).toBeNull()
  first.socket.close()
  await until(() => core.api.stats().clients === 3)
  expect((await connect(token)).closeCode).toBeNull()
})

test('nobody opens a socket without a login', async () => {
  const { core } = await start()
  const shown: Record<string, string>[] = [{}, { authorization: 'Bearer nobody' }, { cookie: 'busbar_access=nobody' }]
  for (const headers of shown) {
    const client = await LiveTestClient.connect(core.webSocketUrl, { headers, origin: core.url })
    expect(client.socket.readyState).toBeGreaterThan(1)
  }
  expect(core.api.stats().clients).toBe(1)
})
