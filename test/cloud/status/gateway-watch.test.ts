import { expect, it, onTestFinished } from 'vitest'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import type { Notice, Notifier } from '../../../cloud/notifications/notifications.ts'
import { GatewayWatch, type GatewayWatchOptions } from '../../../cloud/status/status.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { notificationCore } from '../../support/notification-core.ts'
import { devicesBehind, hello, statusCore } from '../../support/status-core.ts'

const MINUTE_MS = 60_000
const START_MS = Date.UTC(2026, 0, 1)
const never = new AbortController().signal

/** Keeps what is told in the transaction's own outcome: what a failed one told is not there. */
class NoticeBook implements Notifier {
  readonly told: Notice[] = []
  failures = 0
  nudges = 0

  async notify(notices: readonly Notice[]): Promise<void> {
    if (this.failures-- > 0) throw new Error('notices cannot be stored')
    this.told.push(...notices)
  }

  nudge(): void {
    this.nudges++
  }

  get titles(): string[] {
    return this.told.map(({ title }) => title)
  }
}

await describeOnEveryDatabase('the watch over gateways', (database) => {
  const watchOn = (
    handle: DatabaseHandle,
    clock: ManualClock,
    coreId = 'core-1',
    changes: Partial<GatewayWatchOptions> = {},
  ) => {
    const core = statusCore(handle, clock, coreId)
    const notifier = new NoticeBook()
    const settings = { gatewayOfflineAfterMs: MINUTE_MS, checkPeriodMs: 5_000, historyDays: 10 }
    const watch = new GatewayWatch({ ...core.common, ...settings, notifier, ...changes })
    onTestFinished(() => watch.stop(never))
    return { ...core, watch, notifier }
  }
  const open = async (changes: Partial<GatewayWatchOptions> = {}) => {
    const handle = await database.open()
    const clock = new ManualClock(START_MS)
    const core = watchOn(handle, clock, 'core-1', changes)
    await core.registry.gatewayConnected(hello('gw-1'))
    /** `ms` later, as a round of a core that has watched for an hour finds it. */
    const lookAfter = async (ms: number, heldMs = 60 * MINUTE_MS) => {
      clock.advance(ms)
      await core.watch.look(never, heldMs)
    }
    const hear = (backlog = { records: 0, bytes: 0, oldestMs: null }) =>
      core.registry.gateways.writeReports([{ gatewayId: 'gw-1', seenAtMs: clock.wallMs(), backlog }])
    return { ...core, handle, clock, lookAfter, hear }
  }

  it('tells of a gateway that is away for too long once, and once that it is back', async () => {
    const core = await open()
    const { watch, notifier, registry, clock, lookAfter, hear } = core
    await devicesBehind(core, 'gw-1', ['A', 'B'], 7)
    await devicesBehind(core, 'gw-1', ['A'], 3)
    await registry.gateways.update('gw-1', { name: 'Substation 12' })
    await registry.gatewayDisconnected('gw-1', 'session-1')
    await lookAfter(MINUTE_MS)
    expect(notifier.told).toEqual([])
    await lookAfter(1)
    await lookAfter(10 * MINUTE_MS)
    expect(notifier.told).toEqual([
      {
        type: 'GATEWAY_OFFLINE',
        severity: 'WARNING',
        title: 'Gateway gw-1 is offline',
        content:
          'Gateway gw-1 (Substation 12) was last heard of at 2026-01-01T00:00:00Z, 1 min ago. Behind it are 3 devices at ' +
          'sites 3, 7; what they send waits in the gateway, and their statuses stay as they were.',
        toldInPart: {
          title: 'Gateway gw-1 is offline',
          content: 'Gateway gw-1 (Substation 12) was last heard of at 2026-01-01T00:00:00Z, 1 min ago.',
        },
        relatedEntityId: 'gw-1',
        siteIds: [3, 7],
        key: `gateway-outage/gw-1/${START_MS}/begin`,
        recipients: { userIds: [], subscribers: true },
        burst: { key: 'gateway-outages', subject: 'gateways', label: 'gw-1 offline' },
        atMs: START_MS + MINUTE_MS + 1,
      },
    ])
    expect(notifier.nudges).toBe(1)
    expect(watch.stats()).toEqual({ gatewaysOffline: 1, outagesBegun: 1, outagesEnded: 0 })

    clock.advance(MINUTE_MS)
    const backAtMs = clock.wallMs()
    await registry.gatewayConnected(hello('gw-1', 'session-2'))
    await lookAfter(9_999)
    expect(notifier.told).toHaveLength(1)
    await hear({ records: 1_234, bytes: 3_500_000, oldestMs: null })
    await lookAfter(1)
    expect(notifier.told.slice(1)).toMatchObject([
      {
        type: 'GATEWAY_OFFLINE',
        severity: 'INFO',
        title: 'Gateway gw-1 is back',
        content:
          'Gateway gw-1 (Substation 12) was offline for 12 min, since 2026-01-01T00:00:00Z. ' +
          '1,234 records that it kept, 3.3 MiB, are still to come.',
        siteIds: [3, 7],
        key: `gateway-outage/gw-1/${START_MS}/end`,
        atMs: backAtMs,
      },
    ])
    expect(watch.stats()).toEqual({ gatewaysOffline: 0, outagesBegun: 1, outagesEnded: 1 })
    await lookAfter(0)
    expect((await watch.outages('gw-1')).items).toEqual([
      { gatewayId: 'gw-1', sinceMs: START_MS, noticedAtMs: START_MS + MINUTE_MS + 1, endedAtMs: backAtMs },
    ])
    expect(notifier.told).toHaveLength(2)
  })

  it('takes a connected gateway that is not heard of for one that is away', async () => {
    const { notifier, clock, lookAfter, hear } = await open()
    await lookAfter(MINUTE_MS)
    expect(notifier.told).toEqual([])
    await lookAfter(1)
    expect(notifier.titles).toEqual(['Gateway gw-1 is offline'])
    expect(notifier.told[0]?.content).toContain('No device is behind it.')
    expect(notifier.told[0]?.siteIds).toBeNull()
    // It was only not heard of: the session goes on.
    clock.advance(5_000)
    await hear()
    await lookAfter(1_000)
    expect(notifier.told[1]?.content).toContain('was offline for 1 min 6 s')
    expect(notifier.told[1]?.content).toContain('Everything that it kept meanwhile has arrived.')
  })

  it('knows no outage of a gateway that never connected', async () => {
    const { registry, notifier, lookAfter } = await open()
    await registry.gatewayDisconnected('gw-1', 'session-1')
    await registry.gateways.create({ id: 'gw-new' })
    await lookAfter(60 * MINUTE_MS)
    expect(notifier.titles).toEqual(['Gateway gw-1 is offline'])
  })

  it('gives gateways time after a start, however long nobody was there to hear them', async () => {
    const { notifier, lookAfter } = await open({ gatewayOfflineAfterMs: 1_000 })
    await lookAfter(60 * MINUTE_MS, 0)
    await lookAfter(1_000, 29_999)
    expect(notifier.told).toEqual([])
    await lookAfter(1_000, 30_000)
    expect(notifier.titles).toEqual(['Gateway gw-1 is offline'])
  })

  it('stores an outage with what is told of it, or neither', async () => {
    const { watch, notifier, lookAfter } = await open()
    notifier.failures = 1
    await expect(lookAfter(2 * MINUTE_MS)).rejects.toThrow('cannot be stored')
    expect((await watch.outages('gw-1')).items).toEqual([])
    await lookAfter(0)
    expect(notifier.told).toHaveLength(1)
    expect((await watch.outages('gw-1')).items).toMatchObject([{ endedAtMs: null }])
  })

  it('tells of many gateways, all of them', async () => {
    const { registry, notifier, watch, lookAfter, clock } = await open()
    const ids = Array.from({ length: 250 }, (_, i) => `sub-${i}`)
    for (const id of ids) await registry.gatewayConnected(hello(id))
    await lookAfter(2 * MINUTE_MS)
    expect(new Set(notifier.told.map(({ key }) => key)).size).toBe(251)
    expect(watch.stats().gatewaysOffline).toBe(251)
    for (const id of ids) await registry.gatewayConnected(hello(id, 'session-2'))
    clock.advance(10_000)
    await lookAfter(1)
    expect(watch.stats()).toEqual({ gatewaysOffline: 1, outagesBegun: 251, outagesEnded: 250 })
  })

  it('lists outages in pages, the newest first, and removes the old ones', async () => {
    const { handle, watch, lookAfter } = await open()
    const dayMs = 86_400_000
    const since = [1, 2, 3, 9, 12, 13].map((daysAgo) => START_MS - daysAgo * dayMs)
    await handle.kysely
      .insertInto('gateway_outages')
      .values(
        since.map((since_ms) => ({ gateway_id: 'gw-1', since_ms, noticed_at_ms: since_ms, ended_at_ms: since_ms + 1 })),
      )
      .execute()
    await lookAfter(0)
    const first = await watch.outages('gw-1', { limit: 3 })
    const second = await watch.outages('gw-1', { limit: 3, cursor: first.next ?? undefined })
    expect([...first.items, ...second.items].map(({ sinceMs }) => sinceMs)).toEqual(since.slice(0, 4))
    expect(second.next).toBeNull()
    await expect(watch.outages('gw-1', { cursor: first.next?.slice(2) })).rejects.toThrow('cursor')
  })

  it('reaches those who asked for the sites behind it, once each', async () => {
    const handle = await database.open()
    const clock = new ManualClock(START_MS)
    const { notifications } = notificationCore(handle, null, {}, clock)
    const { watch, ...core } = watchOn(handle, clock, 'core-1', { notifier: notifications })
    await notifications.preferences.change('ann', { sites: [7] })
    await notifications.preferences.change('bob', { sites: [9] })
    await core.registry.gatewayConnected(hello('gw-1'))
    await devicesBehind(core, 'gw-1', ['A', 'B'], 7)
    await core.registry.gatewayDisconnected('gw-1', 'session-1')
    for (let i = 0; i < 3; i++) {
      clock.advance(2 * MINUTE_MS)
      await watch.look(never, 60 * MINUTE_MS)
    }
    await core.registry.gatewayConnected(hello('gw-1', 'session-2'))
    clock.advance(10_000)
    await watch.look(never, 60 * MINUTE_MS)
    const inboxOf = async (user: string) =>
      (await notifications.inbox.list(user)).items.map(({ title, severity }) => `${severity} ${title}`)
    expect(await inboxOf('ann')).toEqual(['INFO Gateway gw-1 is back', 'WARNING Gateway gw-1 is offline'])
    expect(await inboxOf('bob')).toEqual([])
  })

  it('is what a duty does: looked after by one core, after its grace', async () => {
    const { watch, notifier, clock } = await open()
    clock.advance(10 * MINUTE_MS)
    await watch.start()
    for (let i = 0; i < 30 && notifier.told.length === 0; i++) {
      clock.advance(i === 0 ? 0 : 5_000)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    expect(notifier.titles).toEqual(['Gateway gw-1 is offline'])
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(11 * MINUTE_MS)
  })

  if (database.postgres !== null) {
    it('tells once, although two cores look at once', async () => {
      const url = await database.freshUrl()
      const clock = new ManualClock()
      const cores = [
        watchOn(await database.open({ url }), clock),
        watchOn(await database.open({ url }), clock, 'core-2'),
      ]
      const { registry } = cores[0] as (typeof cores)[number]
      for (let i = 0; i < 150; i++) await registry.gatewayConnected(hello(`gw-${i}`))
      const look = () => Promise.all(cores.map(({ watch }) => watch.look(never, 60 * MINUTE_MS)))
      const told = () => cores.flatMap(({ notifier }) => notifier.told.map(({ key }) => key))
      clock.advance(2 * MINUTE_MS)
      for (let i = 0; i < 3; i++) await look()
      expect(told()).toHaveLength(150)
      for (let i = 0; i < 150; i++) await registry.gatewayConnected(hello(`gw-${i}`, 'session-2'))
      clock.advance(10_000)
      for (let i = 0; i < 3; i++) await look()
      expect(new Set(told()).size).toBe(300)
      expect(told()).toHaveLength(300)
    })
  }
})
