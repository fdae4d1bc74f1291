import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Burst, type BurstNotice, gather, hasEnded, summaryOf } from '../../../cloud/notifications/burst.ts'
import { SEVERITIES, SUBSCRIBERS } from '../../../cloud/notifications/notice.ts'
import { named } from '../../support/notification-core.ts'

const SETTINGS = { burstNotices: 3, alertBurstNotices: 5, burstWindowMs: 30_000 }
const START_MS = Date.UTC(2026, 0, 1)
let keys = 0

function notice(label: string, changes: Partial<BurstNotice> = {}): BurstNotice {
  const [device = ''] = label.split(' ')
  return {
    type: 'DEVICE_STATUS',
    severity: 'WARNING',
    title: label,
    content: label,
    relatedEntityId: device,
    siteIds: [1],
    key: `k${++keys}`,
    recipients: SUBSCRIBERS,
    burst: { key: 'gw', subject: 'gateway sub-12', label },
    atMs: START_MS,
    ...changes,
  }
}

const devices = (count: number, status = 'OFFLINE') =>
  Array.from({ length: count }, (_, i) => notice(`D${i} ${status}`))
/** Through the database and back. */
const stored = (burst: Burst) => JSON.parse(JSON.stringify(burst)) as Burst
const summaryAfter = (notices: readonly BurstNotice[]) => {
  const { burst } = gather(null, notices, START_MS, { ...SETTINGS, burstNotices: 0, alertBurstNotices: 0 })
  if (burst.held === null) throw new Error('nothing is held')
  return summaryOf(burst.held)
}

describe('a burst', () => {
  it('is told one by one up to the limit, and together beyond it', () => {
    const first = gather(null, devices(5), START_MS, SETTINGS)
    expect(first.told.map(({ title }) => title)).toEqual(['D0 OFFLINE', 'D1 OFFLINE', 'D2 OFFLINE'])
    expect(first.heldCount).toBe(2)
    const second = gather(stored(first.burst), [notice('D9 OFFLINE')], START_MS + 29_999, SETTINGS)
    expect(second).toMatchObject({ told: [], heldCount: 1, summary: null })
    const third = gather(stored(second.burst), [notice('D10 OFFLINE')], START_MS + 30_000, SETTINGS)
    expect(third.told).toHaveLength(1)
    expect(third.summary).toMatchObject({
      title: '3 more changes at gateway sub-12',
      content: '3 more changes at gateway sub-12: D3 OFFLINE, D4 OFFLINE, D9 OFFLINE',
      severity: 'WARNING',
      siteId: 1,
      relatedEntityId: null,
    })
  })

  it('of alerts has a limit of its own, and counts an alert that opened and closed once', () => {
    const alert = (device: string, what: string, changes: Partial<BurstNotice> = {}) =>
      notice(`${device} ${what}`, {
        type: 'TELEMETRY_ALERT',
        burst: { key: 'alert-rule:1', subject: 'rule Too hot', label: `${device} ${what}` },
        ...changes,
      })
    const opened = Array.from({ length: 7 }, (_, i) => alert(`D${i}`, '87 (above 80)'))
    const first = gather(null, opened, START_MS, SETTINGS)
    expect(first.told).toHaveLength(5)
    const second = gather(stored(first.burst), [alert('D6', 'is back')], START_MS + 1, SETTINGS)
    expect(second.told).toEqual([])
    const { title, content } = summaryOf(second.burst.held as NonNullable<Burst['held']>)
    expect(title).toBe('2 more alerts of rule Too hot')
    expect(content).toBe('2 more alerts of rule Too hot: D5 87 (above 80), D6 is back')
    expect(summaryAfter([alert('D1', 'is back')]).title).toBe('1 more alert of rule Too hot')
  })

  it('names the first twenty, and says how many more there are', () => {
    const { title, content } = summaryAfter(devices(32))
    expect(title).toBe('32 more changes at gateway sub-12')
    expect(content).toContain('D19 OFFLINE, and 12 more')
    expect(content).not.toContain('D20')
    expect(summaryAfter(devices(1)).content).toBe('1 more change at gateway sub-12: D0 OFFLINE')
  })

  it('names what went away and came back once, as it is now', () => {
    const both = [...devices(25), ...devices(25, 'ONLINE')]
    const { title, content } = summaryAfter(both)
    expect(title).toBe('50 more changes at gateway sub-12')
    expect(content).toContain('D0 ONLINE, D1 ONLINE')
    expect(content).toContain('D19 ONLINE, and 5 more')
  })

  it('stays of bounded size, whatever comes', () => {
    const many = Array.from({ length: 3_000 }, (_, i) =>
      notice(`${'x'.repeat(1_000)}${i}`, {
        siteIds: [i + 1],
        recipients: i % 2 === 0 ? SUBSCRIBERS : named(`user-${i}`),
      }),
    )
    const { burst, told } = gather(null, many, START_MS, SETTINGS)
    // Those of which the list of sites or people has grown too long are told on their own.
    expect(told.length + (burst.held?.count ?? 0)).toBe(3_000)
    expect(told.length).toBeGreaterThan(900)
    expect(JSON.stringify(burst).length).toBeLessThan(100_000)
    expect(summaryOf(burst.held as NonNullable<Burst['held']>).content.length).toBeLessThan(4_001)
  })

  it('goes on when the clock is set back, and does not last for ever', () => {
    const { burst } = gather(null, devices(5), START_MS, SETTINGS)
    expect(hasEnded(burst, START_MS - 1_000)).toBe(false)
    expect(hasEnded(burst, START_MS - 3_600_000)).toBe(true)
  })

  it('loses nothing and tells nothing twice: every notice is told or counted in one summary, with its severity', () => {
    const step = fc.record({
      afterMs: fc.integer({ min: 0, max: 40_000 }),
      labels: fc.array(
        fc.record({ device: fc.integer({ min: 0, max: 40 }), severity: fc.constantFrom(...SEVERITIES) }),
        {
          maxLength: 40,
        },
      ),
    })
    fc.assert(
      fc.property(
        fc.array(step, { size: 'max', maxLength: 60 }),
        fc.integer({ min: 1, max: 5 }),
        (steps, burstNotices) => {
          let burst: Burst | null = null
          let nowMs = START_MS
          let counted = 0
          let given = 0
          let windowBegan = Number.NEGATIVE_INFINITY
          let toldInWindow = 0
          for (const { afterMs, labels } of steps) {
            nowMs += afterMs
            const notices = labels.map(({ device, severity }) => notice(`D${device} ERROR`, { severity }))
            given += notices.length
            const gathered = gather(burst, notices, nowMs, { ...SETTINGS, burstNotices })
            counted += gathered.told.length + Number(/^\d+/.exec(gathered.summary?.title ?? '0')?.[0])
            if (gathered.burst.startedAtMs !== windowBegan) toldInWindow = 0
            windowBegan = gathered.burst.startedAtMs
            toldInWindow += gathered.told.length
            expect(toldInWindow).toBeLessThanOrEqual(burstNotices)
            burst = stored(gathered.burst)
          }
          expect(counted + (burst?.held?.count ?? 0)).toBe(given)
        },
      ),
    )
  })

  it('is told with the highest severity among what is held, to all who wanted any of it', () => {
    const summary = summaryAfter([
      notice('D1 OFFLINE', { severity: 'INFO', siteIds: [1] }),
      notice('D2 ERROR', { severity: 'CRITICAL', siteIds: [2] }),
      notice('D3 OFFLINE', { severity: 'INFO', siteIds: [3], recipients: named('ann') }),
      notice('D4 OFFLINE', { severity: 'INFO', siteIds: [4] }),
    ])
    expect(summary.severity).toBe('CRITICAL')
    expect(summary.siteId).toBeNull()
    expect(summary.audiences).toEqual([
      { type: 'DEVICE_STATUS', severity: 'INFO', siteIds: [1, 4], recipients: SUBSCRIBERS },
      { type: 'DEVICE_STATUS', severity: 'CRITICAL', siteIds: [2], recipients: SUBSCRIBERS },
      { type: 'DEVICE_STATUS', severity: 'INFO', siteIds: [3], recipients: named('ann') },
    ])
  })
})
