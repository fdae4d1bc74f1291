import { describe, expect, test } from 'vitest'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { isDuplicate } from '../../../cloud/database/failure.ts'
import type { CommandChange, CommandState } from '../../../cloud/gateways/gateways.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import {
  addDevices,
  type DispatchCore,
  type DispatchCoreOptions,
  dispatchCore,
  newCommand,
  report,
} from '../../support/dispatch-core.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/until.ts'

const steps = (changes: readonly CommandChange[]) =>
  changes.map(({ commandId, from, to, late }) => `${commandId} ${from}→${to}${late ? ' late' : ''}`)

/** Puts a command into a state, as its gateway's reports would. */
async function bring(core: DispatchCore, commandId: string, state: CommandState): Promise<void> {
  await core.issue(newCommand(commandId))
  if (state !== 'QUEUED') {
    const session = await core.connect('g1')
    await core.database.kysely
      .updateTable('device_commands')
      .set({ state: 'SENT', session_id: session.sessionId, sent_at_ms: 1 })
      .where('command_id', '=', commandId)
      .execute()
    if (state !== 'SENT') await core.record(report(commandId, state))
  }
  core.changes.length = 0
}

async function letters(database: DatabaseHandle) {
  const rows = await database.kysely.selectFrom('outbox').selectAll().orderBy('id').execute()
  return rows.map(({ topic, key, value, headers }) => ({
    topic,
    key,
    value: JSON.parse(value),
    headers: JSON.parse(headers ?? '{}'),
  }))
}

await describeOnEveryDatabase('commands on their way to devices', (underTest) => {
  async function core(options: DispatchCoreOptions & { readonly url?: string } = {}): Promise<DispatchCore> {
    const database = await underTest.open(options.url === undefined ? {} : { url: options.url })
    await addDevices(database, { m1: 'g1', m2: 'g2', m3: null })
    return dispatchCore(database, options)
  }

  describe('issue', () => {
    test('stores them in the caller’s transaction, on the way to where their devices are', async () => {
      const c = await core()
      await expect(
        c.database.transaction(async (transaction) => {
          await c.commands.issue([newCommand('gone')], transaction)
          throw new Error('rolled back')
        }),
      ).rejects.toThrow('rolled back')
      await c.issue(newCommand('a', 1, { params: '{"x":"\\u0000 \'\\""}' }), newCommand('b', 2), newCommand('c', 3))
      const rows = await c.database.kysely.selectFrom('device_commands').selectAll().orderBy('command_id').execute()
      expect(rows.map((row) => [row.command_id, row.state, row.gateway_id])).toEqual([
        ['a', 'QUEUED', 'g1'],
        ['b', 'QUEUED', 'g2'],
        ['c', 'QUEUED', null],
      ])
      expect(rows[0]).toMatchObject({ params: '{"x":"\\u0000 \'\\""}', deadline_at_ms: rows[0]?.expires_at_ms })
    })

    test('an id that exists is a duplicate, and nothing of the transaction stays', async () => {
      const c = await core()
      await c.issue(newCommand('a'))
      const error = await c.issue(newCommand('b'), newCommand('a')).catch((reason: unknown) => reason)
      expect(isDuplicate(error)).toBe(true)
      await expect(c.row('b')).rejects.toThrow()
    })
  })

  describe('reports', () => {
    test('in their order, two of one command in one batch too, and the owner is told of each', async () => {
      const c = await core()
      await bring(c, 'a', 'SENT')
      await c.record(
        report('a', 'DELIVERED', { receivedAtMs: 1_000 }),
        report('a', 'SUCCEEDED', { receivedAtMs: 2_000, payload: '{"dlmsResultCode":0}' }),
      )
      expect(c.changes).toEqual([
        expect.objectContaining({ from: 'SENT', to: 'DELIVERED', atMs: 1_000, late: false, payload: null }),
        expect.objectContaining({ from: 'DELIVERED', to: 'SUCCEEDED', atMs: 2_000, payload: '{"dlmsResultCode":0}' }),
      ])
      expect(await c.row('a')).toMatchObject({ state: 'SUCCEEDED', delivered_at_ms: 1_000 })
      expect(c.dispatcher.stats().finished).toMatchObject({ SUCCEEDED: 1, FAILED: 0 })
    })

    test('the same twice, in one batch or in two, changes nothing', async () => {
      const c = await core()
      await bring(c, 'a', 'SENT')
      await c.record(report('a', 'FAILED'), report('a', 'FAILED'))
      const before = await c.row('a')
      await c.record(report('a', 'FAILED'), report('a', 'DELIVERED'))
      expect(await c.row('a')).toEqual(before)
      expect(steps(c.changes)).toEqual(['a SENT→FAILED'])
    })

    test('an answer after the end is told once as late and flips nothing', async () => {
      const c = await core()
      await bring(c, 'a', 'TIMED_OUT')
      await c.record(report('a', 'DELIVERED'), report('a', 'SUCCEEDED', { payload: '{"late":1}' }))
      await c.record(report('a', 'SUCCEEDED'), report('a', 'FAILED'))
      expect(steps(c.changes)).toEqual(['a TIMED_OUT→SUCCEEDED late'])
      expect(c.changes[0]).toMatchObject({ payload: '{"late":1}' })
      expect(await c.row('a')).toMatchObject({ state: 'TIMED_OUT' })
      expect((await c.row('a')).late_at_ms).not.toBeNull()
    })

    test('several hundred in one transaction, for commands of both owners', async () => {
      const c = await core()
      const ids = Array.from({ length: 1_200 }, (_, i) => `c${i}`)
      await c.issue(...ids.map((id, i) => newCommand(id, 1, i % 2 ? { owner: 'task', taskId: 't' } : {})))
      await c.record(...ids.map((id) => report(id, 'DELIVERED')), ...ids.map((id) => report(id, 'SUCCEEDED')))
      const rows = await c.database.kysely.selectFrom('device_commands').select('state').execute()
      expect(rows.filter((row) => row.state === 'SUCCEEDED')).toHaveLength(1_200)
      expect(c.changes).toHaveLength(2_400)
      expect(c.changes.filter((change) => change.taskId === 't')).toHaveLength(1_200)
    })

    test('of another gateway than the one that was given the command are not believed', async () => {
      const c = await core()
      await bring(c, 'a', 'SENT')
      await c.record(report('a', 'SUCCEEDED', { gatewayId: 'g2' }))
      expect(steps(c.changes)).toEqual([])
      expect((await letters(c.database)).map(({ value }) => value.error.code)).toEqual(['OTHER_GATEWAY'])
      await c.record(report('a', 'FAILED'))
      expect(steps(c.changes)).toEqual(['a SENT→FAILED'])
    })

    test('of a command that nobody knows, and of another device’s, are dead letters and change nothing', async () => {
      const c = await core()
      await bring(c, 'a', 'SENT')
      await c.record(
        report('nobody', 'SUCCEEDED'),
        report('a', 'SUCCEEDED', { deviceId: 2 }),
        report('a', 'SUCCEEDED', { siteId: 2 }),
        report('a', 'FAILED'),
        report('x\0y', 'SUCCEEDED', { value: Buffer.from([0, 255]) }),
        report('x'.repeat(10_000), 'SUCCEEDED'),
      )
      expect(steps(c.changes)).toEqual(['a SENT→FAILED'])
      const told = await letters(c.database)
      expect(told.map(({ key, value }) => [key, value.error.code, value.commandId?.slice(0, 10)])).toEqual([
        ['m2', 'OTHER_DEVICE', 'a'],
        ['m1', 'OTHER_DEVICE', 'a'],
        ['m1', 'NO_COMMAND', 'nobody'],
        ['m1', 'NO_COMMAND', undefined],
        ['m1', 'NO_COMMAND', 'x'.repeat(10)],
      ])
      expect(told[0]).toMatchObject({
        topic: 'orchestrator.responses-dlt',
        value: { commandId: 'a', status: 'SUCCEEDED' },
        headers: { gateway: 'g1', seq: '1', source: 'ingest', originalTopic: 'orchestrator.responses' },
      })
    })

    test('a listener that rejects leaves nothing behind', async () => {
      const c = await core({
        onChanged: (changes) => {
          if (changes.some(({ to }) => to === 'SUCCEEDED')) throw new Error('not mine')
        },
      })
      await bring(c, 'a', 'SENT')
      await expect(c.record(report('a', 'SUCCEEDED'))).rejects.toThrow('not mine')
      expect(await c.stateOf('a')).toBe('SENT')
    })

    test('a reason that PostgreSQL would not store is cleaned', async () => {
      const c = await core()
      await bring(c, 'a', 'SENT')
      await c.record(report('a', 'EXPIRED', { reason: `a\0b${'x'.repeat(10_000)}` }))
      expect(c.changes[0]?.reason).toMatch(/^abx{498}$/)
      await bring(c, 'b', 'SENT')
      await c.record(report('b', 'EXPIRED', { reason: `a${'😀'.repeat(300)}` }))
      expect(c.changes.at(-1)?.reason?.isWellFormed()).toBe(true)
    })

    test('from two cores at once, in any order of ids, each step is taken once', async () => {
      const url = await underTest.freshUrl()
      const c = await core({ url })
      const ids = Array.from({ length: 60 }, (_, i) => `c${i}`)
      await c.issue(...ids.map((id) => newCommand(id)))
      const other = dispatchCore(await underTest.open({ url }))
      await Promise.all([
        c.record(...ids.map((id) => report(id, 'SUCCEEDED'))),
        other.record(...ids.toReversed().map((id) => report(id, 'FAILED'))),
        c.record(...ids.map((id) => report(id, 'SUCCEEDED'))),
      ])
      const first = [...c.changes, ...other.changes].filter((change) => !change.late)
      expect(first).toHaveLength(60)
      expect([...c.changes, ...other.changes].filter((change) => change.late)).toHaveLength(60)
    })
  })

  test('what waits is taken from a gateway that lost the site meanwhile', async () => {
    const c = await core()
    await c.issue(newCommand('waits'))
    await c.database.kysely.updateTable('devices').set({ gateway_id: null }).where('id', '=', 1).execute()
    await c.dispatcher.start()
    await until(async () => (await c.row('waits')).gateway_id === null)
    expect(await c.stateOf('waits')).toBe('QUEUED')
  })

  describe('cancel', () => {
    test('ends what waits, asks back what is with a gateway, lets go on what a device has', async () => {
      const clock = new ManualClock()
      const c = await core({ clock })
      for (const [id, state] of [
        ['waiting', 'QUEUED'],
        ['sent', 'SENT'],
        ['delivered', 'DELIVERED'],
        ['done', 'SUCCEEDED'],
      ] as const) {
        await bring(c, id, state)
      }
      await c.cancel('waiting', 'sent', 'delivered', 'done', 'nobody', 'sent')
      expect(steps(c.changes)).toEqual(['waiting QUEUED→CANCELLED'])
      expect((await c.row('sent')).cancel_requested_at_ms).toBe(clock.wallMs())
      expect((await c.row('delivered')).cancel_requested_at_ms).toBeNull()
      await c.record(report('sent', 'CANCELLED'), report('delivered', 'SUCCEEDED'))
      expect(steps(c.changes).slice(1)).toEqual(['delivered DELIVERED→SUCCEEDED', 'sent SENT→CANCELLED'])
    })
  })
})
