import { describe, expect, onTestFinished, test } from 'vitest'
import { COMMAND_EVENTS } from '../../../cloud/bus/catalogue.ts'
import { CommandRefusedError, type CommandService, type CommandView } from '../../../cloud/commands/commands.ts'
import { type DatabaseHandle, openDatabase } from '../../../cloud/database/database.ts'
import type { CommandReport, CommandState } from '../../../cloud/gateways/gateways.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { type Random, systemRandom } from '../../../shared/random.ts'
import { type CommandCore, commandCore } from '../../support/command-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { embeddedBus, relayOver } from '../../support/outbox-relay.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

const DAY_MS = 86_400_000

const REBOOT = { deviceId: 'INV-001', name: 'reboot', payload: { force: true } }

function rowsOf(database: DatabaseHandle) {
  const { kysely } = database
  return Promise.all([
    kysely.selectFrom('commands').selectAll().orderBy('id').execute(),
    kysely.selectFrom('device_commands').selectAll().orderBy('command_id').execute(),
    kysely.selectFrom('outbox').selectAll().orderBy('id').execute(),
  ])
}

/** What a gateway would report of a command to INV-001 of site 1. */
async function report(
  core: CommandCore,
  database: DatabaseHandle,
  commandId: string,
  state: CommandState,
  more: Partial<CommandReport> = {},
): Promise<void> {
  const device = { gatewayId: 'gw-1', siteId: 1, serialNumber: 'INV-001' }
  const nothing = { payload: null, reason: null, receivedAtMs: 1_000, value: Buffer.from('{}'), headers: {} }
  await database.transaction((transaction) =>
    core.deviceCommands.record([{ commandId, state, ...device, ...nothing, ...more }], transaction),
  )
}

/** Gives these bytes, one after another, then random ones. */
function randomGiving(...texts: string[]): Random {
  return {
    fraction: () => 0.5,
    bytes: (length) => {
      const next = texts.shift()
      return next === undefined ? systemRandom.bytes(length) : Buffer.from(next, 'hex')
    },
  }
}

async function problemsOf(creation: Promise<CommandView>): Promise<string[]> {
  const error = await creation.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(CommandRefusedError)
  return (error as CommandRefusedError).problems.map(({ pointer }) => pointer)
}

/** Creates a command, and expects it on command.events and the command to say so. */
async function expectSent(database: DatabaseHandle, core: CommandCore): Promise<void> {
  const bus = await embeddedBus()
  await relayOver(database, bus, { outbox: core.outbox }).relay.start()
  const created = await core.commands.create(REBOOT)
  const sent = await until(async () => {
    const command = await core.commands.get(created.id)
    return command?.status === 'sent' ? command : null
  })
  expect(sent.sentAtMs).toBeGreaterThanOrEqual(created.createdAtMs)
  expect(sent).toMatchObject({ delivery: created.delivery, payload: REBOOT.payload })
  const reader = await readTopics(bus, [COMMAND_EVENTS])
  const record = await until(() => reader.records[0])
  expect(record).toMatchObject({ key: created.id })
  expect(JSON.parse(String(record.value))).toMatchObject({ type: 'command.created', id: created.id })
}

test('without a database to keep them, commands are published all the same', async () => {
  const database = openDatabase({ url: 'memory:', clock: systemClock, log: silentLogger })
  onTestFinished(() => database.stop())
  await database.start()
  const core = commandCore(database)
  await core.registry.load('gw-1', [{ siteId: 1, serialNumber: 'INV-001' }])
  await expectSent(database, core)
})

await describeOnEveryDatabase('the command service', (databases) => {
  const open = async (options: Parameters<typeof commandCore>[1] = {}) => {
    const database = await databases.open()
    const core = commandCore(database, options)
    await core.registry.load('gw-1', [{ siteId: 1, serialNumber: 'INV-001' }])
    return { database, core, commands: core.commands }
  }

  describe('a new command', () => {
    test('is stored with its way to the device and what is to be told of it', async () => {
      const clock = new ManualClock(Date.UTC(2025, 0, 1, 12))
      const { database, commands } = await open({ clock, settings: { expiryMs: 5_000, timeoutMs: 700 } })
      const created = await commands.create(REBOOT)
      expect(created).toEqual({
        id: expect.stringMatching(/^cmd-[0-9a-f]{8}$/),
        deviceId: 'INV-001',
        siteId: 1,
        registeredDeviceId: 1,
        name: 'reboot',
        payload: { force: true },
        status: 'pending',
        createdAtMs: clock.wallMs(),
        sentAtMs: null,
        expiresAtMs: clock.wallMs() + 5_000,
        updatedAtMs: clock.wallMs(),
        delivery: {
          state: 'QUEUED',
          reason: null,
          deliveredAtMs: null,
          finishedAtMs: null,
          response: null,
          late: null,
        },
      })
      expect(await commands.get(created.id)).toEqual(created)
      const [, ways, records] = await rowsOf(database)
      expect(ways).toEqual([
        expect.objectContaining({
          command_id: created.id,
          owner: 'command',
          task_id: null,
          device_id: 1,
          site_id: 1,
          serial_number: 'INV-001',
          name: 'reboot',
          params: '{"force":true}',
          state: 'QUEUED',
          issued_at_ms: clock.wallMs(),
          expires_at_ms: clock.wallMs() + 5_000,
          timeout_ms: 700,
        }),
      ])
      expect(records).toEqual([
        expect.objectContaining({
          topic: 'command.events',
          key: created.id,
          value:
            `{"type":"command.created","id":"${created.id}","device_id":"INV-001","name":"reboot",` +
            '"payload":{"force":true},"created_at":"2025-01-01T12:00:00+00:00"}',
          owner: 'command',
          owner_id: created.id,
        }),
      ])
    })

    test('may have no payload, an expiry and a time-out of its own', async () => {
      const clock = new ManualClock()
      const { database, commands } = await open({ clock })
      const nowMs = clock.wallMs()
      const created = await commands.create({ deviceId: 'INV-001', name: 'x', expiresAtMs: nowMs + 1, timeoutMs: 100 })
      expect(created).toMatchObject({ payload: null, expiresAtMs: nowMs + 1 })
      const other = await commands.create({ deviceId: 'INV-001', name: 'x', payload: null, expiresInMs: 1_000 })
      expect(other).toMatchObject({ payload: null, expiresAtMs: nowMs + 1_000 })
      const [, ways, records] = await rowsOf(database)
      expect(ways.map(({ params, timeout_ms }) => ({ params, timeout_ms }))).toEqual(
        expect.arrayContaining([
          { params: 'null', timeout_ms: 100 },
          { params: 'null', timeout_ms: 60_000 },
        ]),
      )
      for (const { value } of records) expect(JSON.parse(value).payload).toBeNull()
    })

    test('is stored whole or not at all', async () => {
      const { database, commands } = await open()
      const failing = commands.create(REBOOT, async (stored, transaction) => {
        // What was stored before is there, within the transaction.
        expect(await transaction.selectFrom('outbox').select('key').execute()).toEqual([{ key: stored.id }])
        throw new Error('the answer cannot be remembered')
      })
      await expect(failing).rejects.toThrow('cannot be remembered')
      expect(await rowsOf(database)).toEqual([[], [], []])
    })

    test('draws its id again when another command has it', async () => {
      const { database, commands } = await open({
        random: randomGiving('00000001', '00000001', '00000001', '00000002'),
      })
      expect((await commands.create(REBOOT)).id).toBe('cmd-00000001')
      expect((await commands.create(REBOOT)).id).toBe('cmd-00000002')
      const [stored, ways, records] = await rowsOf(database)
      for (const rows of [stored, ways, records]) expect(rows).toHaveLength(2)
    })

    test('is refused, not tried for ever, where no id is free', async () => {
      const { commands } = await open({ random: { fraction: () => 0, bytes: (length) => new Uint8Array(length) } })
      await commands.create(REBOOT)
      await expect(commands.create(REBOOT)).rejects.toThrow()
    })
  })

  describe('the device', () => {
    test('may be unknown: then only consumers of command.events learn of the command', async () => {
      const { database, commands } = await open()
      const created = await commands.create({ ...REBOOT, deviceId: 'dev-xyz' })
      expect(created).toMatchObject({ deviceId: 'dev-xyz', siteId: null, delivery: null })
      const [, ways, records] = await rowsOf(database)
      expect(ways).toEqual([])
      expect(records).toHaveLength(1)
    })

    test('must be known where the settings say so', async () => {
      const { commands } = await open({ settings: { allowUnknownDevices: false } })
      expect(await problemsOf(commands.create({ ...REBOOT, deviceId: 'dev-xyz' }))).toEqual(['/device_id'])
      expect(await problemsOf(commands.create({ ...REBOOT, siteId: 2 }))).toEqual(['/device_id'])
      await commands.create(REBOOT)
    })

    test('is named with its site where several sites have its serial number', async () => {
      const { core, commands } = await open()
      await core.registry.load('gw-2', [{ siteId: 2, serialNumber: 'INV-001' }])
      const refused = commands.create(REBOOT)
      expect(await problemsOf(refused)).toEqual(['/site_id'])
      await expect(refused).rejects.toThrow(/several have a INV-001: 1, 2/)
      expect(await commands.create({ ...REBOOT, siteId: 2 })).toMatchObject({
        siteId: 2,
        delivery: { state: 'QUEUED' },
      })
    })
  })

  test('everything that is wrong is told at once', async () => {
    const clock = new ManualClock()
    const { database, commands } = await open({ clock, settings: { allowUnknownDevices: false } })
    const request = {
      deviceId: 'nobody',
      name: 'SET_TOU',
      payload: { tou: 1 },
      expiresAtMs: clock.wallMs(),
      expiresInMs: 5_000,
      timeoutMs: 1,
    }
    const expected = [
      '/device_id',
      '/payload/tou_profile_id',
      '/payload/tou',
      '/expires_at',
      '/expires_in_ms',
      '/timeout_ms',
    ]
    expect((await problemsOf(commands.create(request))).toSorted()).toEqual(expected.toSorted())
    expect((await commands.problems(request)).map(({ pointer }) => pointer).toSorted()).toEqual(expected.toSorted())
    expect(await commands.problems({ payload: { tou: 1 } })).toEqual([])
    expect(await rowsOf(database)).toEqual([[], [], []])
  })

  test('a published command is sent, once and for all', async () => {
    const { database, core } = await open()
    await expectSent(database, core)
  })

  describe('its way to the device', () => {
    test('is followed to the end', async () => {
      const { database, core, commands } = await open()
      const { id } = await commands.create(REBOOT)
      await report(core, database, id, 'DELIVERED', { receivedAtMs: 2_000 })
      expect((await commands.get(id))?.delivery).toMatchObject({
        state: 'DELIVERED',
        finishedAtMs: null,
        response: null,
      })
      await report(core, database, id, 'SUCCEEDED', { payload: '{"dlmsResultCode":0}', receivedAtMs: 3_000 })
      const { delivery, status } = (await commands.get(id)) as CommandView
      expect(status).toBe('pending')
      expect(delivery).toMatchObject({ state: 'SUCCEEDED', response: { dlmsResultCode: 0 }, reason: null, late: null })
      expect(delivery?.deliveredAtMs).not.toBeNull()
      expect(delivery?.finishedAtMs).not.toBeNull()
    })

    test('keeps the reason of its end, and a late answer beside it', async () => {
      const { database, core, commands } = await open()
      const { id } = await commands.create(REBOOT)
      await report(core, database, id, 'TIMED_OUT', { reason: 'no answer within 60000 ms' })
      await report(core, database, id, 'SUCCEEDED', { payload: '"€ \\" \\u0000"', receivedAtMs: 9_000 })
      expect((await commands.get(id))?.delivery).toMatchObject({
        state: 'TIMED_OUT',
        reason: 'no answer within 60000 ms',
        response: null,
        late: { state: 'SUCCEEDED', response: '€ " \0' },
      })
    })

    test('changes many commands at once, each by its own', async () => {
      const { database, core, commands } = await open()
      const ids: string[] = []
      for (let i = 0; i < 30; i++) ids.push((await commands.create(REBOOT)).id)
      const device = { gatewayId: 'gw-1', siteId: 1, serialNumber: 'INV-001', receivedAtMs: 1 }
      const record = { value: Buffer.from('{}'), headers: {} }
      const reports = ids.map((commandId, i): CommandReport => {
        const state = i % 2 === 0 ? 'SUCCEEDED' : 'FAILED'
        return { commandId, state, payload: `{"n":${i}}`, reason: null, ...device, ...record }
      })
      await database.transaction((transaction) => core.deviceCommands.record(reports, transaction))
      for (const [i, id] of ids.entries()) {
        expect((await commands.get(id))?.delivery).toMatchObject({
          state: i % 2 === 0 ? 'SUCCEEDED' : 'FAILED',
          response: { n: i },
        })
      }
    })
  })

  describe('a list', () => {
    const walk = async (commands: CommandService, query: object, onPage?: () => Promise<unknown>) => {
      const ids: string[] = []
      let cursor: string | undefined
      do {
        const page = await commands.list({ ...query, limit: 4, cursor })
        ids.push(...page.items.map(({ id }) => id))
        cursor = page.next ?? undefined
        await onPage?.()
      } while (cursor !== undefined)
      return ids
    }

    test('has the newest first, each once, although others come meanwhile', async () => {
      const clock = new ManualClock()
      const { commands } = await open({ clock })
      const made: CommandView[] = []
      for (let i = 0; i < 15; i++) {
        made.push(await commands.create(REBOOT))
        // Three at a time are made in one millisecond.
        if (i % 3 === 2) clock.advance(1)
      }
      const expected = made
        .toSorted((a, b) => b.createdAtMs - a.createdAtMs || (a.id < b.id ? 1 : -1))
        .map(({ id }) => id)
      clock.advance(1)
      expect(await walk(commands, {}, () => commands.create(REBOOT))).toEqual(expected)
    })

    test('is narrowed by device, site, status, delivery and time', async () => {
      const clock = new ManualClock(1_000_000)
      const { database, core, commands } = await open({ clock })
      await core.registry.load('gw-2', [{ siteId: 2, serialNumber: 'INV-002' }])
      const first = await commands.create(REBOOT)
      clock.advance(1_000)
      const second = await commands.create({ ...REBOOT, deviceId: 'INV-002' })
      clock.advance(1_000)
      const third = await commands.create({ ...REBOOT, deviceId: 'dev-xyz' })
      await report(core, database, first.id, 'FAILED')
      await database.transaction(async (transaction) => {
        await core.outbox.publishedListener('command')?.([third.id], 5, transaction)
      })
      const found = (query: object) => walk(commands, query)
      expect(await found({ deviceId: 'INV-001' })).toEqual([first.id])
      expect(await found({ siteId: 2 })).toEqual([second.id])
      expect(await found({ status: 'sent' })).toEqual([third.id])
      expect(await found({ status: 'pending', deliveryState: 'FAILED' })).toEqual([first.id])
      expect(await found({ createdAfterMs: second.createdAtMs })).toEqual([third.id, second.id])
      expect(await found({ createdBeforeMs: second.createdAtMs })).toEqual([first.id])
      expect(await found({ deviceId: 'nobody' })).toEqual([])
    })

    test.each(['nonsense', Buffer.from('5').toString('base64url'), Buffer.from('"5/x"').toString('base64url')])(
      'refuses the cursor %s',
      async (cursor) => {
        const { commands } = await open()
        await expect(commands.list({ cursor })).rejects.toThrow('cursor')
      },
    )
  })

  test('what changed is found in the order of the changes, and goes on after a full page', async () => {
    const clock = new ManualClock(1_000_000)
    const { database, core, commands } = await open({ clock })
    const old = await commands.create(REBOOT)
    const sinceMs = clock.wallMs() + 1
    clock.advance(1)
    const made = [await commands.create(REBOOT), await commands.create(REBOOT), await commands.create(REBOOT)]
    clock.advance(1)
    await report(core, database, old.id, 'SUCCEEDED')
    const inOrder = [...made.map(({ id }) => id).toSorted(), old.id]
    expect((await commands.changedSince(sinceMs, 10)).map(({ id }) => id)).toEqual(inOrder)
    const seen: CommandView[] = []
    for (;;) {
      const last = seen.at(-1)
      const some = await commands.changedSince(last?.updatedAtMs ?? sinceMs, 2, last?.id)
      if (some.length === 0) break
      expect(some.length).toBeLessThanOrEqual(2)
      seen.push(...some)
    }
    expect(seen.map(({ id }) => id)).toEqual(inOrder)
  })

  test('what ended is removed after its time, and nothing else', async () => {
    const clock = new ManualClock()
    const { database, core, commands } = await open({ clock, settings: { keptDays: 2 } })
    onTestFinished(() => commands.stop())
    const finished = await commands.create(REBOOT)
    const open_ = await commands.create(REBOOT)
    const told = await commands.create({ ...REBOOT, deviceId: 'dev-xyz' })
    const untold = await commands.create({ ...REBOOT, deviceId: 'dev-xyz' })
    await report(core, database, finished.id, 'SUCCEEDED', { receivedAtMs: clock.wallMs() })
    await database.transaction(async (transaction) => {
      await core.outbox.publishedListener('command')?.([told.id], clock.wallMs(), transaction)
    })
    clock.advance(2 * DAY_MS)
    const fresh = await commands.create(REBOOT)
    await commands.start()
    await commands.start()
    const left = async () => (await commands.list()).items.map(({ id }) => id).toSorted()
    expect(await left()).toHaveLength(5)
    clock.advance(2 * 60 * 60 * 1000)
    const kept = [open_.id, untold.id, fresh.id].toSorted()
    await until(async () => JSON.stringify(await left()) === JSON.stringify(kept))
  })
})
