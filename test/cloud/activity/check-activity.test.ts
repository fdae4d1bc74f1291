import { describe, expect, test } from 'vitest'
import { ActivityTypes, checkActivity } from '../../../cloud/activity/activity.ts'
import { activityValue } from '../../support/activity-values.ts'

const NOW = Date.UTC(2026, 0, 31, 12)
const types = new ActivityTypes(new Map([['create_site', 'Makes a site']]), ['own_type'])
const check = (value: unknown) => {
  return checkActivity(value, { types, metadataBytesMax: 200, futureToleranceMs: 1_000, nowMs: NOW })
}
const timestamp = '2026-01-31T13:00:00.5+01:00'
const valid = activityValue('ann', 1, { activityType: 'own_type', timestamp })

describe('an activity', () => {
  test('of the contract has what is not in it as null', () => {
    expect(check({ ...valid, unheardOf: 1 })).toEqual({
      activity: {
        ...{ eventId: 'evt_ann_1', userId: 'ann', activityType: 'own_type', atMs: NOW + 500, version: '1.0' },
        metadata: valid.metadata,
        ...{ outcome: null, objectType: null, objectId: null, siteId: null, correlationId: null },
        ...{ recordedBy: null, source: null },
      },
    })
    const extras = { outcome: 'REFUSED', objectType: 'site', objectId: '7', siteId: 7, correlationId: 'r' }
    expect(check({ ...valid, ...extras, recordedBy: null })).toMatchObject({ activity: extras })
  })

  test.each([
    ['nothing', null, ['']],
    ['a list', [valid], ['']],
    ['no member', {}, ['/userId', '/activityType', '/timestamp', '/metadata', '/eventId', '/version']],
    ['a user of two lines', { ...valid, userId: 'a\nb' }, ['/userId']],
    ['a user that cannot be stored', { ...valid, userId: '\ud800' }, ['/userId']],
    ['an unknown type', { ...valid, activityType: 'walked_the_dog' }, ['/activityType']],
    ['a type of another form', { ...valid, activityType: 'Own Type' }, ['/activityType']],
    ['a day that no month has', { ...valid, timestamp: '2026-02-30T00:00:00Z' }, ['/timestamp']],
    ['a time to come', { ...valid, timestamp: '2026-01-31T12:00:02Z' }, ['/timestamp']],
    ['another version', { ...valid, version: '2.0' }, ['/version']],
    ['metadata that is no object', { ...valid, metadata: ['x'] }, ['/metadata']],
    ['metadata that is too large', { ...valid, metadata: { a: 'é'.repeat(100) } }, ['/metadata']],
    [
      'metadata that is too deep',
      { ...valid, metadata: { a: JSON.parse(`${'['.repeat(32)}${']'.repeat(32)}`) } },
      ['/metadata'],
    ],
    ['an outcome of its own', { ...valid, outcome: 'MAYBE' }, ['/outcome']],
    [
      'two faults',
      { ...valid, activityType: 'nope', timestamp: '2027-01-01T00:00:00Z' },
      ['/activityType', '/timestamp'],
    ],
  ])('with %s is told what is wrong', (_, value, pointers) => {
    const checked = check(value)
    expect('problems' in checked && checked.problems.map(({ pointer }) => pointer)).toEqual(pointers)
  })
})
