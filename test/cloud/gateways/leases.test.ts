import { describe, expect, test } from 'vitest'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import {
  type DispatchCore,
  type DispatchCoreOptions,
  dispatchCore,
  RecordingDownlink,
} from '../../support/dispatch-core.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/until.ts'

const LEASE_MS = 9_000

await describeOnEveryDatabase('leases of gateways', (underTest) => {
  /** Cores of one database, each with a clock of its own. */
  async function cores(count: number, options: DispatchCoreOptions = {}) {
    const url = await underTest.freshUrl()
    const clocks = Array.from({ length: count }, () => new ManualClock())
    const made: DispatchCore[] = []
    for (const clock of clocks) {
      const core = dispatchCore(await underTest.open({ url }), { clock, leaseMs: LEASE_MS, ...options })
      await core.gateways.start()
      made.push(core)
    }
    return { cores: made as [DispatchCore, ...DispatchCore[]], clocks: clocks as [ManualClock, ...ManualClock[]], url }
  }
  const leases = (core: DispatchCore) =>
    core.database.kysely.selectFrom('gateway_leases').selectAll().orderBy('gateway_id').execute()

  describe('who has a gateway', () => {
    test('the newest session, on whichever core; the older one ends when it hears of it', async () => {
      const { cores: pair, clocks } = await cores(2)
      const [a, b] = pair as [DispatchCore, DispatchCore]
      const old = await a.connect('g1')
      const next = await b.connect('g1')
      expect(await leases(a)).toMatchObject([{ gateway_id: 'g1', session_id: next.sessionId }])
      expect(old.downlink.ended).toEqual([])
      clocks[0].advance(LEASE_MS / 3)
      await until(() => old.downlink.ended.length > 0)
      expect(old.downlink.ended[0]).toContain('another core')
      expect(a.gateways.openSessions()).toEqual([])
      expect(next.downlink.ended).toEqual([])
      // The older one's farewell takes nothing from the newer one.
      await old.leave()
      expect(await leases(a)).toMatchObject([{ session_id: next.sessionId }])
    })

    test('a newer session on the same core ends the older one at once', async () => {
      const {
        cores: [core],
      } = await cores(1)
      const old = await core.connect('g1')
      const next = await core.connect('g1')
      expect(old.downlink.ended).toHaveLength(1)
      await old.leave()
      expect(core.gateways.openSessions().map((session) => session.sessionId)).toEqual([next.sessionId])
      expect(await leases(core)).toMatchObject([{ session_id: next.sessionId }])
    })

    test('nobody, once the gateway has left', async () => {
      const {
        cores: [core],
      } = await cores(1)
      const session = await core.connect('g1')
      expect(await core.gateways.coreOf('g1')).not.toBeNull()
      await session.leave()
      expect(await leases(core)).toEqual([])
      expect(await core.gateways.coreOf('g1')).toBeNull()
    })

    test('nobody, a lease after its core died, and nobody waits for that to take it', async () => {
      const { cores: pair, clocks } = await cores(2)
      const [dead, living] = pair as [DispatchCore, DispatchCore]
      await dead.connect('g1')
      await dead.connect('g2')
      clocks[1]?.advance(LEASE_MS - 1)
      expect(await living.gateways.coreOf('g1')).not.toBeNull()
      const session = await living.connect('g1')
      clocks[1]?.advance(1)
      await until(async () => (await living.gateways.coreOf('g2')) === null)
      expect(await leases(living)).toMatchObject([{ session_id: session.sessionId }, { gateway_id: 'g2' }])
    })

    test('a core that stops gives its gateways back', async () => {
      const {
        cores: [core],
      } = await cores(1)
      await core.connect('g1')
      await core.gateways.stop()
      await core.gateways.stop()
      expect(await leases(core)).toEqual([])
    })

    test('a session that is not the newest any more opens no way down', async () => {
      const {
        cores: [core],
      } = await cores(1)
      await core.connect('g1')
      const late = new RecordingDownlink()
      core.gateways.opened('g1', 'an older session', late)
      expect(late.ended).toHaveLength(1)
      expect(core.gateways.openSessions()).toHaveLength(1)
    })
  })

  describe('renewal', () => {
    test('of all in one round, every third of a lease', async () => {
      const {
        cores: [core],
        clocks,
      } = await cores(1)
      for (let i = 0; i < 20; i++) await core.connect(`g${i}`)
      const before = await leases(core)
      clocks[0].advance(LEASE_MS / 3)
      await until(async () => (await leases(core)).every((row, i) => row.until_ms > (before[i]?.until_ms as number)))
      expect(core.gateways.openSessions()).toHaveLength(20)
    })

    test('clocks of cores that differ by a minute take nothing from anyone', async () => {
      const { cores: pair, clocks } = await cores(2)
      const [a, b] = pair as [DispatchCore, DispatchCore]
      const session = await a.connect('g1')
      const other = await b.connect('g2')
      clocks[1]?.stepWall(60_000)
      for (let i = 0; i < 6; i++) {
        clocks[0].advance(LEASE_MS / 3)
        clocks[1]?.advance(LEASE_MS / 3)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      expect(session.downlink.ended).toEqual([])
      expect(other.downlink.ended).toEqual([])
      expect(await leases(a)).toHaveLength(2)
    })

    test('a core that was frozen for long lets go of what another one took, and keeps what nobody took', async () => {
      const { cores: pair, clocks } = await cores(2)
      const [frozen, other] = pair as [DispatchCore, DispatchCore]
      const taken = await frozen.connect('g1')
      const kept = await frozen.connect('g2')
      clocks[1]?.advance(10 * LEASE_MS)
      const next = await other.connect('g1')
      clocks[0].advance(10 * LEASE_MS)
      await until(() => taken.downlink.ended.length > 0)
      expect(frozen.gateways.openSessions().map((session) => session.gatewayId)).toEqual(['g2'])
      expect(kept.downlink.ended).toEqual([])
      expect(next.downlink.ended).toEqual([])
      expect(await other.gateways.coreOf('g1')).not.toBe(await other.gateways.coreOf('g2'))
    })

    test('a lease whose row is gone is taken again, unless somebody has it', async () => {
      const {
        cores: [core],
        clocks,
      } = await cores(1)
      const session = await core.connect('g1')
      await core.database.kysely.deleteFrom('gateway_leases').execute()
      clocks[0].advance(LEASE_MS / 3)
      await until(async () => (await leases(core)).length === 1)
      expect(await leases(core)).toMatchObject([{ session_id: session.sessionId }])
      expect(session.downlink.ended).toEqual([])
    })

    test('a session that nobody could give back is cleared away', async () => {
      const {
        cores: [core],
        clocks,
      } = await cores(1)
      const session = await core.connect('g1')
      const [row] = await leases(core)
      await session.leave()
      await core.database.kysely
        .insertInto('gateway_leases')
        .values(row as NonNullable<typeof row>)
        .execute()
      clocks[0].advance(LEASE_MS / 3)
      await until(async () => (await leases(core)).length === 0)
    })
  })

  const { postgres } = underTest
  // SQLite goes away only with its core.
  if (postgres !== null) {
    test('a database that is away ends no session, and refuses those that come', async () => {
      const {
        cores: [core],
        clocks,
      } = await cores(1)
      const session = await core.connect('g1')
      await postgres.kill()
      try {
        for (let i = 0; i < 10; i++) {
          clocks[0].advance(LEASE_MS / 3)
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
        await expect(core.connect('g2')).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' })
        expect(session.downlink.ended).toEqual([])
        expect(core.gateways.openSessions()).toHaveLength(1)
      } finally {
        await postgres.restart()
      }
      const nowMs = clocks[0].wallMs()
      await until(async () => {
        clocks[0].advance(LEASE_MS / 3)
        return (await leases(core).catch(() => [])).some((row) => row.until_ms > nowMs)
      })
      expect(session.downlink.ended).toEqual([])
    })
  }
})
