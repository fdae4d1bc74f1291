import { describe, expect, it, onTestFinished } from 'vitest'
import { Presence, type PresenceOptions } from '../../../cloud/chat/presence.ts'
import { bestOf, LocalPresence } from '../../../cloud/chat/presence-state.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { silentLogger } from '../../../shared/log.ts'
import { awayDatabase } from '../../support/away-database.ts'
import { chatCore } from '../../support/chat-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/until.ts'

const SETTINGS = { awayAfterMs: 60_000, offlineAfterMs: 15_000, receiptsMembersMax: 3 }
/** What comes to nothing within so long is not stored. */
const MOMENT_MS = 300

const socket = () => ({})
let cores = 0

function presenceOf(database: DatabaseHandle, clock: ManualClock, options: Partial<PresenceOptions> = {}): Presence {
  const coreId = `core-p${++cores}`
  const { membership } = chatCore(database)
  const common = { database, membership, coreId, settings: SETTINGS, clock, log: silentLogger }
  const presence = new Presence({ ...common, ...options })
  onTestFinished(() => presence.stop(AbortSignal.timeout(2_000)))
  return presence
}

/** Time passes until it is so. */
async function becomes(clock: ManualClock, presence: Presence, states: Readonly<Record<string, string>>) {
  const userIds = Object.keys(states)
  let looks = 0
  await until(async () => {
    // Not at each look: a database that is slow must not find that hours have passed.
    if (looks++ % 3 === 0) clock.advance(MOMENT_MS)
    const views = await presence.of(userIds)
    return views.every(({ userId, state }) => state === states[userId])
  })
}

describe('the state of a user', () => {
  it('is the best that any core knows', () => {
    expect([bestOf([]), bestOf(['away']), bestOf(['away', 'online', 'away'])]).toEqual(['offline', 'away', 'online'])
  })

  it('is online while some socket is active, and says so, and away when none is', () => {
    const local = new LocalPresence(1_000)
    const [phone, laptop] = [socket(), socket()]
    local.open('ann', phone, 0)
    local.open('ann', laptop, 0)
    const now = (nowMs: number) => {
      local.sweep(nowMs)
      const changes = local.changes(nowMs, 10)
      local.stored(changes, nowMs)
      return changes.map(({ state }) => state)
    }
    expect(now(0)).toEqual(['online'])
    local.say('ann', 'away', phone, 500)
    expect(now(500)).toEqual([])
    expect(now(1_000)).toEqual(['away'])
    expect(local.touch('ann', phone, 1_100)).toBe(false)
    expect(local.touch('ann', laptop, 1_200)).toBe(true)
    expect(now(1_200)).toEqual(['online'])
    local.close('ann', laptop)
    local.close('ann', laptop)
    expect(now(1_300)).toEqual(['away'])
    local.close('ann', phone)
    expect([now(1_400), local.size, local.sockets, local.waiting]).toEqual([['offline'], 0, 0, 0])
  })

  it('takes nothing from sockets that are not open', () => {
    const local = new LocalPresence(1_000)
    local.close('ann', socket())
    local.say('ann', 'online', socket(), 0)
    expect([local.touch('ann', socket(), 0), local.size, local.changes(0, 10)]).toEqual([false, 0, []])
  })
})

await describeOnEveryDatabase('presence', (databases) => {
  it('is known to all cores, with when somebody was last seen', async () => {
    const url = await databases.freshUrl()
    const clock = new ManualClock()
    const here = presenceOf(await databases.open({ url }), clock)
    const there = presenceOf(await databases.open({ url }), clock)
    const [phone, laptop] = [socket(), socket()]
    expect(await there.of(['ann'])).toEqual([{ userId: 'ann', state: 'offline', lastSeenAtMs: null }])
    here.open('ann', phone)
    await becomes(clock, there, { ann: 'online' })
    there.open('ann', laptop)
    here.state('ann', 'away', phone)
    await until(() => {
      clock.advance(MOMENT_MS)
      return here.stats().waiting + there.stats().waiting === 0
    })
    expect(await here.of(['ann', 'bob'])).toMatchObject([{ state: 'online' }, { state: 'offline' }])
    there.state('ann', 'away', laptop)
    await becomes(clock, here, { ann: 'away' })
    expect([...(await here.isOnline(['ann', 'bob']))]).toEqual(['ann'])
    there.close('ann', laptop)
    here.close('ann', phone)
    await becomes(clock, here, { ann: 'offline' })
    expect(await there.isOnline(['ann'])).toEqual(new Set())
    const [ann] = await here.of(['ann'])
    expect(clock.wallMs() - (ann?.lastSeenAtMs ?? 0)).toBeLessThanOrEqual(100 * MOMENT_MS)
  })

  it('writes nothing for a page that is loaded again', async () => {
    const away = awayDatabase(await databases.open())
    const clock = new ManualClock()
    const presence = presenceOf(away.database, clock)
    const first = socket()
    presence.open('ann', first)
    await becomes(clock, presence, { ann: 'online' })
    await until(() => presence.stats().waiting === 0)
    const [before] = await presence.changedSince(0, 10)
    presence.close('ann', first)
    presence.open('ann', socket())
    expect(presence.stats()).toMatchObject({ users: 1, sockets: 1, waiting: 1 })
    await until(() => {
      clock.advance(MOMENT_MS)
      return presence.stats().waiting === 0
    })
    expect((await presence.changedSince(0, 10))[0]?.updatedAtMs).toBe(before?.updatedAtMs)
  })

  it('is away for who is idle, and online again with the first frame', async () => {
    const clock = new ManualClock()
    const presence = presenceOf(await databases.open(), clock)
    await presence.start()
    const own = socket()
    presence.open('ann', own)
    await becomes(clock, presence, { ann: 'online' })
    clock.advance(SETTINGS.awayAfterMs)
    await becomes(clock, presence, { ann: 'away' })
    presence.touch('ann', own)
    await becomes(clock, presence, { ann: 'online' })
  })

  it('counts a core that died no more, whose users were last seen when it was', async () => {
    const url = await databases.freshUrl()
    const clock = new ManualClock()
    const died = presenceOf(await databases.open({ url }), clock)
    const lives = presenceOf(await databases.open({ url }), clock)
    died.open('ann', socket())
    died.open('bob', socket())
    await becomes(clock, lives, { ann: 'online', bob: 'online' })
    const diedAtMs = clock.wallMs()
    // Its clock goes on here, but it never starts, and so never says that it is alive.
    await lives.start()
    lives.open('bob', socket())
    clock.advance(SETTINGS.offlineAfterMs + 1)
    await until(async () => {
      clock.advance(MOMENT_MS)
      return (await lives.isOnline(['ann', 'bob'])).size === 1
    })
    await becomes(clock, lives, { ann: 'offline', bob: 'online' })
    expect(lives.stats().coresRemoved).toBeGreaterThan(0)
    const [ann] = await lives.of(['ann'])
    expect(ann?.lastSeenAtMs).toBeLessThanOrEqual(diedAtMs)
  })

  it('repairs what was taken from a core that could not say that it is alive', async () => {
    const url = await databases.freshUrl()
    const clock = new ManualClock()
    const real = await databases.open({ url })
    const away = awayDatabase(real)
    const cut = presenceOf(away.database, clock)
    const other = presenceOf(await databases.open({ url }), clock)
    await other.start()
    // The one that is cut would keep the duty: only its transactions fail, and the lease takes none.
    await until(async () => {
      clock.advance(MOMENT_MS)
      return (await real.kysely.selectFrom('duties').selectAll().execute()).length > 0
    })
    await cut.start()
    cut.open('ann', socket())
    await becomes(clock, other, { ann: 'online' })
    away.isAway = true
    cut.open('bob', socket())
    clock.advance(2 * SETTINGS.offlineAfterMs)
    await becomes(clock, other, { ann: 'offline' })
    away.isAway = false
    await becomes(clock, other, { ann: 'online', bob: 'online' })
  })

  it('lets everybody go at once when the core stops', async () => {
    const url = await databases.freshUrl()
    const clock = new ManualClock()
    const stops = presenceOf(await databases.open({ url }), clock)
    const goesOn = presenceOf(await databases.open({ url }), clock)
    stops.open('ann', socket())
    stops.open('bob', socket())
    goesOn.open('bob', socket())
    await becomes(clock, goesOn, { ann: 'online', bob: 'online' })
    await until(() => {
      clock.advance(MOMENT_MS)
      return goesOn.stats().waiting === 0
    })
    await stops.stop(AbortSignal.timeout(2_000))
    expect(await goesOn.of(['ann', 'bob'])).toMatchObject([{ state: 'offline' }, { state: 'online' }])
  })

  it('is right whichever of two cores writes last', async () => {
    const url = await databases.freshUrl()
    const clock = new ManualClock()
    const both = [presenceOf(await databases.open({ url }), clock), presenceOf(await databases.open({ url }), clock)]
    const [here, there] = both as [Presence, Presence]
    const users = Array.from({ length: 20 }, (_, i) => `user-${i}`)
    const sockets = new Map(users.map((userId) => [userId, socket()]))
    for (const userId of users) here.open(userId, sockets.get(userId) as object)
    await becomes(clock, here, Object.fromEntries(users.map((userId) => [userId, 'online'])))
    // All go from here, and half of them come back there, at the same moment.
    for (const [i, userId] of users.entries()) {
      here.close(userId, sockets.get(userId) as object)
      if (i % 2 === 0) there.open(userId, socket())
    }
    const expected = users.map((userId, i) => [userId, i % 2 === 0 ? 'online' : 'offline'])
    await becomes(clock, here, Object.fromEntries(expected))
    const states = (await there.of(users)).map(({ userId, state }) => [userId, state])
    expect(states).toEqual(expected)
  })

  it('gives changes in order, and who is concerned by them', async () => {
    const database = await databases.open()
    const clock = new ManualClock()
    const presence = presenceOf(database, clock)
    const core = chatCore(database)
    await core.conversation(['ann', 'bob'])
    await core.conversation(['ann', 'cid', 'dan', 'eve'])
    const left = await core.conversation(['ann', 'fay'])
    await core.leave(left, 'fay')
    expect(await presence.audience(['ann', 'bob'], ['ann', 'bob', 'cid', 'fay'])).toEqual(
      new Map([
        ['ann', ['bob']],
        ['bob', ['ann']],
      ]),
    )
    // Who may not see any more what it is about is as if they were not in it.
    await core.addUser('gil', [{ role: 'viewer', siteId: 1 }])
    await core.addUser('hal', [{ role: 'viewer', siteId: 2 }])
    await core.conversation(['gil', 'hal', 'bob'], { kind: 'site', id: '1' })
    expect(await presence.audience(['bob', 'hal'], ['ann', 'gil', 'hal'])).toEqual(
      new Map([
        ['bob', ['ann', 'gil']],
        ['hal', ['gil']],
      ]),
    )
    expect(await presence.audience([], ['ann'])).toEqual(new Map())
    for (const userId of ['ann', 'bob', 'cid']) presence.open(userId, socket())
    await becomes(clock, presence, { ann: 'online', bob: 'online', cid: 'online' })
    const [first, ...rest] = await presence.changedSince(0, 10)
    expect([first?.userId, ...rest.map(({ userId }) => userId)]).toEqual(['ann', 'bob', 'cid'])
    const sinceMs = first?.updatedAtMs ?? 0
    expect((await presence.changedSince(sinceMs, 1, 'ann')).map(({ userId }) => userId)).toEqual(['bob'])
    expect(await presence.changedSince(sinceMs + 1, 10)).toEqual([])
  })
})
