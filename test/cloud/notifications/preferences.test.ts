import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { NOTIFICATION_TYPES, SEVERITIES } from '../../../cloud/notifications/notice.ts'
import {
  type Audience,
  changed,
  DEFAULT_PREFERENCES,
  isTold,
  type PreferenceChanges,
  readPreferences,
} from '../../../cloud/notifications/preferences.ts'

const type = fc.constantFrom(...NOTIFICATION_TYPES)
const severity = fc.constantFrom(...SEVERITIES)
const sites = fc.option(fc.uniqueArray(fc.integer({ min: 1, max: 5 })))
const audience: fc.Arbitrary<Audience> = fc.record({
  type,
  severity,
  siteIds: sites,
  recipients: fc.record({ userIds: fc.subarray(['ann', 'bob']), subscribers: fc.boolean() }),
})
const preferences: fc.Arbitrary<PreferenceChanges> = fc.record(
  {
    subscribed: fc.boolean(),
    types: fc.dictionary(type, fc.record({ enabled: fc.boolean(), minSeverity: severity }, { requiredKeys: [] })),
    sites,
    quietHours: fc.option(fc.constant({ from: '22:00', to: '06:00', timeZone: 'UTC' })),
  },
  { requiredKeys: [] },
)

describe('preferences', () => {
  it('change what is given and nothing else, and come back from the database as they were', () => {
    fc.assert(
      fc.property(preferences, preferences, (first, second) => {
        const before = changed(null, first)
        const after = changed(before, second)
        expect(readPreferences(JSON.stringify(after))).toEqual(after)
        expect(changed(after, {})).toEqual(after)
        expect(changed(after, second)).toEqual(after)
        for (const each of NOTIFICATION_TYPES) {
          expect(after.types[each]).toEqual({ ...before.types[each], ...second.types?.[each] })
        }
        for (const member of ['subscribed', 'sites'] as const) {
          expect(after[member]).toEqual(second[member] === undefined ? before[member] : second[member])
        }
        expect(after.quietHours?.exceptCritical ?? true).toBe(true)
      }),
    )
  })

  it('the first change makes a subscriber, unless it says otherwise', () => {
    expect(DEFAULT_PREFERENCES.subscribed).toBe(false)
    expect(changed(null, {}).subscribed).toBe(true)
    expect(changed(null, { subscribed: false }).subscribed).toBe(false)
  })

  it('refuse a time zone that does not exist, and say what one is', () => {
    const quietHours = { from: '22:00', to: '06:00', timeZone: 'Berlin' }
    expect(() => changed(null, { quietHours })).toThrow('such as Europe/Berlin')
  })

  it('decide who is told', () => {
    fc.assert(
      fc.property(preferences, audience, (given, about) => {
        const wanted = changed(null, given)
        const told = isTold('ann', wanted, about)
        const { enabled, minSeverity } = wanted.types[about.type]
        const asked = enabled && SEVERITIES.indexOf(about.severity) >= SEVERITIES.indexOf(minSeverity)
        const here =
          about.siteIds === null || wanted.sites === null || about.siteIds.some((id) => wanted.sites?.includes(id))
        const subscribes = about.recipients.subscribers && wanted.subscribed && asked && here
        const named = about.recipients.userIds.includes('ann') && (asked || about.severity === 'CRITICAL')
        expect(told).toBe(subscribes || named)
      }),
    )
  })

  it('let nobody be told of a site that they may not see, and of no site those only who see all', () => {
    const scope = fc.array(fc.integer({ min: 1, max: 5 })).map((sites) => new Set(sites))
    fc.assert(
      fc.property(preferences, audience, scope, (given, about, sees) => {
        const wanted = changed(null, given)
        const seen = about.siteIds?.filter((id) => sees.has(id)) ?? null
        const told = isTold('ann', wanted, about, sees)
        if (seen === null) expect(told && !about.recipients.userIds.includes('ann')).toBe(false)
        // As if it were about those sites alone.
        else expect(told).toBe(seen.length > 0 && isTold('ann', wanted, { ...about, siteIds: seen }))
      }),
    )
  })

  it('of a user who never said anything let through what names them, and nothing else', () => {
    fc.assert(
      fc.property(audience, (about) => {
        const named = about.recipients.userIds.includes('ann')
        expect(isTold('ann', DEFAULT_PREFERENCES, about)).toBe(named)
      }),
    )
  })
})
