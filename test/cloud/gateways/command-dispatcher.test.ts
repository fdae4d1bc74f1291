import { describe, expect, test } from 'vitest'
import type { CommandChange } from '../../../cloud/gateways/gateways.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import {
  addDevices,
  type DispatchCore,
  type DispatchCoreOptions,
  dispatchCore,
  newCommand,
  RecordingDownlink,
  report,
} from '../../support/dispatch-core.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/until.ts'

const steps = (changes: readonly CommandChange[]) =>
  changes.map(({ commandId, from, to, late }) => `${commandId} ${from}→${to}${late ? ' late' : ''}`)
const silentDownlink = () => Object.assign(new RecordingDownlink(), { answer: 'nothing' as const })
/** Long enough for several turns of a dispatcher that looks every 20 ms. */
const someTurns = () => new Promise((resolve) => setTimeout(resolve, 150))

await describeOnEveryDatabase('the dispatcher of commands', (underTest) => {
  /** Started cores of one database. */
  async function cores(count: number, options: DispatchCoreOptions = {}): Promise<[DispatchCore, ...DispatchCore[]]> {
    const url = await underTest.freshUrl()
    const made: DispatchCore[] = []
    for (let i = 0; i < count; i++) {
      const core = dispatchCore(await underTest.open({ url }), options)
      if (i === 0) await addDevices(core.database, { m1: 'g1', m2: 'g1', m3: 'g2', m4: null })
      await core.gateways.start()
      await core.dispatcher.start()
      made.push(core)
    }
    return made as [DispatchCore, ...DispatchCore[]]
  }

  describe('hands over', () => {
    test('what was issued, to the gateway that has the device, and notes its receipt', async () => {
      const [core] = await cores(1, { pollMs: 60_000 })
      const session = await core.connect('g1')
      const other = await core.connect('g2')
      const command = newCommand('a', 1, { params: '{"force":true}', owner: 'task', taskId: 't1' })
      await core.issue(command)
      await until(async () => (await core.row('a')).stored_at_ms !== null)
      expect(session.downlink.commands).toEqual([
        {
          commandId: 'a',
          taskId: 't1',
          siteId: 1,
          serialNumber: 'm1',
          name: 'REBOOT',
          paramsJson: '{"force":true}',
          issuedAtMs: command.issuedAtMs,
          expiresAtMs: command.expiresAtMs,
          timeoutMs: 60_000,
        },
      ])
      expect(other.downlink.commands).toEqual([])
      expect(await core.row('a')).toMatchObject({ state: 'SENT', gateway_id: 'g1', session_id: session.sessionId })
      expect(steps(core.changes)).toEqual(['a QUEUED→SENT'])
    })

    test('what was issued on another core', async () => {
      const [a, b] = (await cores(2)) as [DispatchCore, DispatchCore]
      const session = await b.connect('g1')
      await a.issue(newCommand('a'))
      await until(() => session.downlink.ids.length === 1)
      expect(steps([...a.changes, ...b.changes])).toEqual(['a QUEUED→SENT'])
    })

    test('what waited, as soon as its gateway comes, the oldest first', async () => {
      const [core] = await cores(1, { pollMs: 60_000 })
      const nowMs = Date.now()
      await core.issue(...['b', 'c', 'a'].map((id, i) => newCommand(id, 1, { issuedAtMs: nowMs + i })))
      await someTurns()
      expect(await core.stateOf('a')).toBe('QUEUED')
      const session = await core.connect('g1')
      await until(() => session.downlink.ids.length === 3)
      expect(session.downlink.ids).toEqual(['b', 'c', 'a'])
    })

    test('no more than a window that is not receipted; what does not fit follows the receipts', async () => {
      const [core] = await cores(1, { windowCommands: 3 })
      const session = await core.connect('g1', silentDownlink())
      await core.issue(...Array.from({ length: 8 }, (_, i) => newCommand(`c${i}`, 1, { issuedAtMs: i })))
      await until(() => session.downlink.ids.length === 3)
      await someTurns()
      expect(session.downlink.ids).toEqual(['c0', 'c1', 'c2'])
      core.gateways.receipted('g1', session.sessionId, { stored: ['c1', 'c0'], refused: [] })
      await until(() => session.downlink.ids.length === 5)
      await someTurns()
      expect(session.downlink.ids).toEqual(['c0', 'c1', 'c2', 'c3', 'c4'])
    })

    test('large commands in several messages, and not all at once', async () => {
      const [core] = await cores(1)
      const session = await core.connect('g1', silentDownlink())
      const params = JSON.stringify('x'.repeat(100_000))
      await core.issue(...Array.from({ length: 30 }, (_, i) => newCommand(`c${i}`, 1, { params, issuedAtMs: i })))
      await until(() => session.downlink.ids.length > 0)
      await someTurns()
      expect(session.downlink.ids.length).toBeLessThan(15)
      expect(Math.max(...session.downlink.messages.map((message) => message.length))).toBe(2)
      session.downlink.answer = 'stored'
      core.gateways.receipted('g1', session.sessionId, { stored: session.downlink.ids, refused: [] })
      await until(() => session.downlink.ids.length === 30)
    })

    test('to many gateways, none of which waits for another one’s backlog', async () => {
      const [core] = await cores(1)
      const ids = Array.from({ length: 120 }, (_, i) => `w${i}`)
      await core.database.kysely
        .insertInto('devices')
        .values(
          ids.map((gateway, i) => ({
            id: 100 + i,
            site_id: 1,
            serial_number: `m${100 + i}`,
            device_type: 'METER',
            gateway_id: gateway,
            created_at_ms: 1,
            updated_at_ms: 1,
          })),
        )
        .execute()
      const sessions = await Promise.all(ids.map((gateway) => core.connect(gateway)))
      await core.issue(...ids.flatMap((id, i) => [0, 1].map((n) => newCommand(`${id}-${n}`, 100 + i))))
      await until(() => sessions.every((session) => session.downlink.ids.length === 2))
    })
  })

  describe('hands over again', () => {
    test('what a session was marked to get and did not, to the next session on another core', async () => {
      const [a, b] = (await cores(2)) as [DispatchCore, DispatchCore]
      // The core dies after the mark and before the message: nothing of it reaches the gateway.
      const dead = await a.connect('g1', silentDownlink())
      await a.issue(newCommand('a'), newCommand('b', 2))
      await until(() => dead.downlink.ids.length === 2)
      await a.dispatcher.stop(AbortSignal.timeout(1_000))
      const session = await b.connect('g1')
      await until(() => session.downlink.ids.length === 2)
      await until(async () => (await b.row('b')).stored_at_ms !== null)
      // The owner knows already that it was sent.
      expect(steps([...a.changes, ...b.changes]).sort()).toEqual(['a QUEUED→SENT', 'b QUEUED→SENT'])
    })

    test('nothing that was receipted, and nothing that the device was heard of', async () => {
      const [core] = await cores(1)
      const first = await core.connect('g1', silentDownlink())
      await core.issue(newCommand('receipted'), newCommand('delivered'), newCommand('lost'))
      await until(() => first.downlink.ids.length === 3)
      core.gateways.receipted('g1', first.sessionId, { stored: ['receipted'], refused: [] })
      await core.record(report('delivered', 'DELIVERED'))
      await until(async () => (await core.row('receipted')).stored_at_ms !== null)
      const second = await core.connect('g1')
      await until(() => second.downlink.ids.length > 0)
      await someTurns()
      expect(second.downlink.ids).toEqual(['lost'])
    })

    test('what a gateway refused, after a pause; one that is never taken expires', async () => {
      const [core] = await cores(1, { refusedPauseMs: 300 })
      const session = await core.connect('g1')
      session.downlink.answer = 'refused'
      await core.issue(newCommand('a'), newCommand('short', 1, { expiresAtMs: Date.now() + 200 }))
      await until(async () => (await core.row('a')).session_id === null && session.downlink.ids.length === 2)
      await core.untilState('short', 'EXPIRED')
      expect(core.changes.at(-1)?.reason).toContain('did not take it')
      session.downlink.answer = 'stored'
      await until(async () => (await core.row('a')).stored_at_ms !== null)
      expect(session.downlink.ids.filter((id) => id === 'a')).toHaveLength(2)
      expect(steps(core.changes).filter((step) => step.startsWith('a '))).toEqual(['a QUEUED→SENT'])
    })

    test('what is not answered for a while, in the same session', async () => {
      const [core] = await cores(1, { unansweredMs: 200 })
      const session = await core.connect('g1', silentDownlink())
      await core.issue(newCommand('a'))
      await until(() => session.downlink.ids.length === 1)
      session.downlink.answer = 'stored'
      await until(() => session.downlink.ids.length === 2)
      await until(async () => (await core.row('a')).stored_at_ms !== null)
    })

    test('what a way down would not take', async () => {
      const [core] = await cores(1, { unansweredMs: 200 })
      const session = await core.connect('g1')
      const { onCommands } = session.downlink
      session.downlink.onCommands = () => {
        session.downlink.onCommands = onCommands
        throw new Error('the stream is gone')
      }
      await core.issue(newCommand('a'))
      await until(async () => (await core.row('a')).stored_at_ms !== null)
      expect(session.downlink.ids).toEqual(['a', 'a'])
    })

    test('nothing through a core whose gateway went to another one without its noticing', async () => {
      const [frozen, other] = (await cores(2, { leaseMs: 600_000 })) as [DispatchCore, DispatchCore]
      const stale = await frozen.connect('g1')
      const session = await other.connect('g1')
      expect(frozen.gateways.openSessions()).toHaveLength(1)
      await frozen.issue(newCommand('a'))
      await until(() => session.downlink.ids.length === 1)
      expect(stale.downlink.ids).toEqual([])
    })
  })

  describe('follows a device that moves', () => {
    test('with what waits; what a gateway has, or may have, stays with that one', async () => {
      const [core] = await cores(1)
      const old = await core.connect('g1', silentDownlink())
      await core.issue(newCommand('sent'))
      await until(() => old.downlink.ids.length === 1)
      await old.leave()
      await core.issue(newCommand('waits'), newCommand('unknown', 4))
      await core.database.kysely.updateTable('devices').set({ gateway_id: 'g2' }).where('id', 'in', [1, 4]).execute()
      const now = await core.connect('g2')
      await until(() => now.downlink.ids.length === 2)
      expect(now.downlink.ids.toSorted()).toEqual(['unknown', 'waits'])
      await someTurns()
      expect(await core.row('sent')).toMatchObject({ gateway_id: 'g1', state: 'SENT' })
      expect(now.downlink.ids).toHaveLength(2)
    })
  })

  describe('asks back', () => {
    test('what a gateway has, again after it reconnected, until it has ended', async () => {
      const [core] = await cores(1, { cancelRepeatMs: 200 })
      const first = await core.connect('g1')
      await core.issue(newCommand('a'), newCommand('b', 2))
      await until(async () => (await core.row('b')).stored_at_ms !== null)
      await core.cancel('a')
      await until(() => first.downlink.cancelled.length === 1)
      const second = await core.connect('g1')
      await until(() => second.downlink.cancelled.length === 2)
      expect(new Set([...first.downlink.cancelled, ...second.downlink.cancelled])).toEqual(new Set(['a']))
      await core.record(report('a', 'CANCELLED'))
      const asked = second.downlink.cancelled.length
      await new Promise((resolve) => setTimeout(resolve, 400))
      expect(second.downlink.cancelled.length).toBeLessThanOrEqual(asked + 1)
      expect(second.downlink.ids).toEqual([])
    })

    test('what a gateway may have: it is handed over as expired, so that it never goes out', async () => {
      const [core] = await cores(1)
      const first = await core.connect('g1', silentDownlink())
      await core.issue(newCommand('a'))
      await until(() => first.downlink.ids.length === 1)
      await first.leave()
      await core.cancel('a')
      const second = await core.connect('g1')
      await until(() => second.downlink.cancelled.length === 1)
      expect(second.downlink.commands).toMatchObject([{ commandId: 'a', expiresAtMs: 1 }])
      await core.record(report('a', 'EXPIRED'))
      expect(steps(core.changes)).toEqual(['a QUEUED→SENT', 'a SENT→CANCELLED'])
    })

    test('nothing that a gateway refused: that ends at once', async () => {
      const [core] = await cores(1)
      const session = await core.connect('g1', silentDownlink())
      await core.issue(newCommand('a'), newCommand('b', 2))
      await until(() => session.downlink.ids.length === 2)
      await core.cancel('a')
      core.gateways.receipted('g1', session.sessionId, { stored: [], refused: ['a', 'b'] })
      await core.untilState('a', 'CANCELLED')
      await until(async () => (await core.row('b')).session_id === null)
      await core.cancel('b')
      expect(await core.stateOf('b')).toBe('CANCELLED')
    })
  })

  describe('ends', () => {
    test('what waited until its expiry, and what was handed over and not heard of, each with its reason', async () => {
      const clock = new ManualClock()
      const [core] = await cores(1, { clock, answerGraceMs: 5_000 })
      const session = await core.connect('g1', silentDownlink())
      const given = { clock, expiresAtMs: clock.wallMs() + 10_000, timeoutMs: 2_000 }
      await core.issue(...['unheard', 'stored', 'delivered'].map((id) => newCommand(id, 1, given)))
      await until(() => {
        clock.advance(20)
        return session.downlink.ids.length === 3
      })
      core.gateways.receipted('g1', session.sessionId, { stored: ['stored', 'delivered'], refused: [] })
      await core.record(report('delivered', 'DELIVERED'))
      await session.leave()
      await core.issue(newCommand('offline', 3, given), newCommand('homeless', 4, given))
      clock.stepWall(9_000)
      for (let i = 0; i < 10; i++) {
        clock.advance(50)
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
      expect(steps(core.changes).filter((step) => /EXPIRED|TIMED_OUT/.test(step))).toEqual([])
      clock.stepWall(1_000)
      const ended = () => core.changes.filter(({ to }) => to === 'EXPIRED' || to === 'TIMED_OUT')
      await until(() => {
        clock.advance(20)
        return ended().length === 2
      })
      clock.stepWall(7_000)
      await until(() => {
        clock.advance(20)
        return ended().length === 5
      })
      const reasons = Object.fromEntries(ended().map(({ commandId, to, reason }) => [commandId, `${to}: ${reason}`]))
      expect(reasons).toEqual({
        offline: expect.stringMatching(/^EXPIRED: gateway g2 was not connected/),
        homeless: expect.stringMatching(/^EXPIRED: no gateway/),
        unheard: expect.stringMatching(/^TIMED_OUT: gateway g1 was sent it and never said/),
        stored: expect.stringMatching(/^TIMED_OUT: gateway g1 has it/),
        delivered: expect.stringMatching(/^TIMED_OUT: the device has it/),
      })
      await core.record(report('stored', 'EXPIRED'))
      expect(core.changes.at(-1)).toMatchObject({ commandId: 'stored', from: 'TIMED_OUT', to: 'EXPIRED', late: true })
    })

    test('each command once, however many cores look', async () => {
      const all = await cores(3)
      const ids = Array.from({ length: 700 }, (_, i) => `c${i}`)
      await all[0].issue(...ids.map((id) => newCommand(id, 3, { expiresAtMs: Date.now() + 100 })))
      await until(() => all.flatMap((core) => core.changes).length >= 700)
      await someTurns()
      expect(
        all
          .flatMap((core) => core.changes)
          .map((change) => change.commandId)
          .sort(),
      ).toEqual(ids.toSorted())
      expect(all.reduce((sum, core) => sum + core.dispatcher.stats().finished.EXPIRED, 0)).toBe(700)
    })

    test('and removes what ended long ago, nothing else', async () => {
      const [core] = await cores(1, { keptMs: 1_000 })
      const ids = Array.from({ length: 1_300 }, (_, i) => `c${i}`)
      await core.issue(...ids.map((id) => newCommand(id, 3)), newCommand('young', 3), newCommand('open', 3))
      const end = (atMs: number) => ({ state: 'SUCCEEDED', finished_at_ms: atMs })
      const { kysely } = core.database
      await kysely.updateTable('device_commands').set(end(5)).where('command_id', 'like', 'c%').execute()
      await kysely
        .updateTable('device_commands')
        .set(end(Date.now() + 60_000))
        .where('command_id', '=', 'young')
        .execute()
      const next = dispatchCore(core.database, { keptMs: 1_000 })
      await core.dispatcher.stop(AbortSignal.timeout(1_000))
      await next.dispatcher.start()
      const left = () => kysely.selectFrom('device_commands').select('command_id').orderBy('command_id').execute()
      await until(async () => (await left()).length === 2)
      expect(await left()).toEqual([{ command_id: 'open' }, { command_id: 'young' }])
    })
  })

  test('a command that makes its transaction fail does not stop the others', async () => {
    const [core] = await cores(1, {
      onChanged: (changes) => {
        if (changes.some(({ commandId }) => commandId === 'poison')) throw new Error('cannot be told')
      },
    })
    const session = await core.connect('g1')
    await core.issue(...['a', 'poison', 'b', 'c'].map((id, i) => newCommand(id, 1, { issuedAtMs: i })))
    await until(() => session.downlink.ids.length === 3)
    await core.issue(newCommand('d'))
    await until(() => session.downlink.ids.length === 4)
    expect(session.downlink.ids).toEqual(['a', 'b', 'c', 'd'])
    expect(await core.stateOf('poison')).toBe('QUEUED')
  })

  test('tells how many wait, how many are on their way and how many are open', async () => {
    const [core] = await cores(1)
    const session = await core.connect('g1', silentDownlink())
    await core.issue(newCommand('a'), newCommand('b', 2), newCommand('c', 3))
    await until(() => session.downlink.ids.length === 2)
    core.gateways.receipted('g1', session.sessionId, { stored: ['a'], refused: [] })
    await until(() => core.dispatcher.stats().unreceipted === 1)
    expect(core.dispatcher.stats()).toMatchObject({ waiting: 1, unreceipted: 1, open: 3 })
  })

  test('one that stops stores the receipts it has, and does nothing after', async () => {
    const [core] = await cores(1, { pollMs: 60_000 })
    const session = await core.connect('g1', silentDownlink())
    await core.issue(newCommand('a'))
    await until(() => session.downlink.ids.length === 1)
    core.gateways.receipted('g1', session.sessionId, { stored: ['a'], refused: [] })
    await core.dispatcher.stop(AbortSignal.timeout(5_000))
    await core.dispatcher.stop(AbortSignal.timeout(5_000))
    expect((await core.row('a')).stored_at_ms).not.toBeNull()
    await core.issue(newCommand('b'))
    await someTurns()
    expect(session.downlink.ids).toEqual(['a'])
  })

  const { postgres } = underTest
  // SQLite goes away only with its core.
  if (postgres !== null) {
    test('a database that went away and came back finds everything as it should be', async () => {
      const [core] = await cores(1)
      const session = await core.connect('g1', silentDownlink())
      await core.issue(newCommand('a'))
      await until(() => session.downlink.ids.length === 1)
      await postgres.kill()
      core.gateways.receipted('g1', session.sessionId, { stored: ['a'], refused: [] })
      await someTurns()
      await postgres.restart()
      session.downlink.answer = 'stored'
      await until(() =>
        core.issue(newCommand('b')).then(
          () => true,
          () => false,
        ),
      )
      await until(async () => (await core.row('b')).stored_at_ms !== null)
      expect((await core.row('a')).stored_at_ms).not.toBeNull()
      expect(session.downlink.ids).toEqual(['a', 'b'])
    })
  }

  test('10,000 commands over 10 gateways end, each handed over once', async () => {
    const database = await underTest.open()
    const devices = Array.from({ length: 10_000 }, (_, i) => [`m${i + 1}`, `g${i % 10}`] as const)
    await addDevices(database, Object.fromEntries(devices))
    const core = dispatchCore(database, { pollMs: 250 })
    await core.dispatcher.start()
    const ids = devices.map((_, i) => `c${i}`)
    const begun = performance.now()
    for (let start = 0; start < ids.length; start += 500) {
      const group = ids.slice(start, start + 500)
      await core.issue(...group.map((id, i) => newCommand(id, start + i + 1, { owner: 'task', taskId: 't' })))
    }
    const issued = performance.now()
    const sessions = await Promise.all(Array.from({ length: 10 }, (_, i) => core.connect(`g${i}`)))
    const handed = () => sessions.flatMap((session) => session.downlink.ids)
    await until(() => handed().length === 10_000, { timeoutMs: 60_000 })
    const sent = performance.now()
    for (const state of ['DELIVERED', 'SUCCEEDED'] as const) {
      for (let start = 0; start < ids.length; start += 500) {
        const of = (i: number) => ({ deviceId: start + i + 1, gatewayId: `g${(start + i) % 10}` })
        await core.record(...ids.slice(start, start + 500).map((id, i) => report(id, state, of(i))))
      }
    }
    const ended = performance.now()
    expect(new Set(handed()).size).toBe(10_000)
    expect(handed()).toHaveLength(10_000)
    expect(core.dispatcher.stats().finished.SUCCEEDED).toBe(10_000)
    const seconds = (from: number, to: number) => ((to - from) / 1000).toFixed(2)
    process.stdout.write(
      `\n10,000 commands on ${database.dialect}: issued in ${seconds(begun, issued)} s, handed over in ` +
        `${seconds(issued, sent)} s, reports taken in ${seconds(sent, ended)} s\n`,
    )
  }, 120_000)
})
