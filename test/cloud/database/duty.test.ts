import { expect, it, onTestFinished } from 'vitest'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { Duty } from '../../../cloud/database/duty.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { silentLogger } from '../../../shared/log.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/until.ts'

const PERIOD_MS = 1_000
const LEASE_MS = 10_000
const never = new AbortController().signal

await describeOnEveryDatabase('a duty', (database) => {
  /** A core with a clock of its own, all of which show the same time until somebody moves one alone. */
  const coreOn = async (handle: DatabaseHandle, coreId: string, work?: (signal: AbortSignal) => Promise<void>) => {
    const clock = new ManualClock()
    const rounds: number[] = []
    let ended = 0
    const duty = new Duty({
      name: 'sweeping',
      database: handle,
      coreId,
      periodMs: PERIOD_MS,
      leaseMs: LEASE_MS,
      async work(signal, heldMs) {
        rounds.push(heldMs)
        await work?.(signal).finally(() => {
          ended++
        })
      },
      clock,
      log: silentLogger,
    })
    onTestFinished(() => duty.stop(never))
    return { clock, duty, rounds, ended: () => ended }
  }
  const holder = async (handle: DatabaseHandle) =>
    (await handle.kysely.selectFrom('duties').select(['holder', 'until_ms']).executeTakeFirst()) ?? null
  const settled = async () => {
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setTimeout(resolve, 1))
  }
  /** Time passes everywhere, a period at a time, each with what falls due in it. */
  const pass = async (ms: number, ...cores: { clock: ManualClock }[]) => {
    for (let passed = 0; passed < ms; passed += PERIOD_MS) {
      for (const { clock } of cores) clock.advance(PERIOD_MS)
      await settled()
    }
  }

  it('is done by one of two cores, every period', async () => {
    const handle = await database.open()
    const [a, b] = [await coreOn(handle, 'a'), await coreOn(handle, 'b')]
    await Promise.all([a.duty.start(), b.duty.start(), b.duty.start()])
    await pass(5_000, a, b)
    const [done, idle] = a.rounds.length > 0 ? [a, b] : [b, a]
    expect(done.rounds.length).toBeGreaterThanOrEqual(2)
    // Held without a break from the first round on.
    expect(done.rounds[0]).toBe(0)
    expect(done.rounds).toEqual([...new Set(done.rounds)].sort((one, other) => one - other))
    expect(idle.rounds).toEqual([])
  })

  it('goes to the other core when its core dies, once the lease is over', async () => {
    const handle = await database.open()
    const [a, b] = [await coreOn(handle, 'a'), await coreOn(handle, 'b')]
    await a.duty.start()
    await pass(1_000, a, b)
    await b.duty.start()
    // From here on the clock of a stands still, as that of the dead does.
    await pass(LEASE_MS - 2_000, b)
    expect(b.rounds).toEqual([])
    await pass(4_000, b)
    expect(b.rounds.length).toBeGreaterThan(0)
    expect(b.rounds[0]).toBe(0)
  })

  it('goes to the other core at once when its core stops', async () => {
    const handle = await database.open()
    const [a, b] = [await coreOn(handle, 'a'), await coreOn(handle, 'b')]
    await a.duty.start()
    await pass(1_000, a, b)
    await b.duty.start()
    await pass(1_000, a, b)
    await a.duty.stop(never)
    await a.duty.stop(never)
    expect(await holder(handle)).toBeNull()
    await pass(2_000, a, b)
    expect(b.rounds.length).toBeGreaterThan(0)
    const { length } = a.rounds
    await a.duty.start()
    await pass(2_000, a)
    expect(a.rounds.length).toBe(length)
  })

  it('is tried again when it fails', async () => {
    const handle = await database.open()
    let failures = 0
    const core = await coreOn(handle, 'a', async () => {
      if (++failures <= 2) throw new BusbarError('no', { code: 'NO' })
    })
    await core.duty.start()
    await pass(4_000, core)
    expect(core.rounds.length).toBeGreaterThanOrEqual(3)
  })

  it('stays with a core whose round takes long, and a stop cuts the round short', async () => {
    const handle = await database.open()
    const long = (signal: AbortSignal) =>
      new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
    const [a, b] = [await coreOn(handle, 'a', long), await coreOn(handle, 'b')]
    await a.duty.start()
    await pass(1_000, a, b)
    await b.duty.start()
    await pass(3 * LEASE_MS, a, b)
    expect(a.rounds).toEqual([0])
    expect(b.rounds).toEqual([])
    await a.duty.stop(never)
    expect(a.ended()).toBe(1)
    await pass(2_000, b)
    expect(b.rounds.length).toBeGreaterThan(0)
  })

  it('cuts a round short when another core has the duty meanwhile', async () => {
    const handle = await database.open()
    let cut = false
    const core = await coreOn(
      handle,
      'a',
      (signal) =>
        new Promise<void>((resolve) =>
          signal.addEventListener('abort', () => {
            cut = true
            resolve()
          }),
        ),
    )
    await core.duty.start()
    await pass(1_000, core)
    await handle.kysely
      .updateTable('duties')
      .set({ holder: 'b', until_ms: core.clock.wallMs() + 5_000 })
      .execute()
    await pass(4_000, core)
    await until(() => cut)
  })

  it('counts the time that it was held from anew after a core stood still', async () => {
    const handle = await database.open()
    const core = await coreOn(handle, 'a')
    await core.duty.start()
    await pass(3_000, core)
    expect(core.rounds.at(-1)).toBeGreaterThanOrEqual(2_000)
    core.clock.stepWall(LEASE_MS + 1)
    await pass(1_000, core)
    expect(core.rounds.at(-1)).toBe(0)
  })

  it('does not wait for a lease of a clock that was set back', async () => {
    const handle = await database.open()
    const far = new ManualClock().wallMs() + 3_600_000
    await handle.kysely.insertInto('duties').values({ name: 'sweeping', holder: 'dead', until_ms: far }).execute()
    const core = await coreOn(handle, 'a')
    await core.duty.start()
    await pass(1_000, core)
    expect((await holder(handle))?.holder).toBe('a')
  })

  it('lets go of a round that does not end at the deadline', async () => {
    const handle = await database.open()
    const core = await coreOn(handle, 'a', () => new Promise<void>(() => undefined))
    await core.duty.start()
    await pass(1_000, core)
    const deadline = new AbortController()
    const stopping = core.duty.stop(deadline.signal)
    deadline.abort()
    await stopping
    // Else the stop after the test would wait for ever.
    core.duty.stop = () => Promise.resolve()
  })
})
