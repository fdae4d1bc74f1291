import { expect, test } from 'vitest'
import type { Change, ChangeFeed } from '../../../cloud/api/socket/change-feed.ts'
import { ChangePoller } from '../../../cloud/api/socket/change-poller.ts'
import { type Filter, filterKey, keysOf } from '../../../cloud/api/socket/filter.ts'
import type { Viewer } from '../../../cloud/api/socket/visibility.ts'
import { silentLogger } from '../../../shared/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const EVERYWHERE: Viewer = { id: 'ann', sites: 'all' }

/** A resource whose rows are written by any core, and a poller of it. */
function watched() {
  const clock = new ManualClock()
  const rows = new Map<string, Change>()
  let asked = 0
  let shown = 0
  let failing = false
  const feed: ChangeFeed = {
    async changedSince(sinceMs, limit, afterId) {
      asked++
      if (failing) throw new Error('the database is away')
      return [...rows.values()]
        .filter(({ changedAtMs, id }) => changedAtMs > sinceMs || (changedAtMs === sinceMs && id > afterId))
        .sort((a, b) => a.changedAtMs - b.changedAtMs || (a.id < b.id ? -1 : 1))
        .slice(0, limit)
    },
    async present(filter: Filter) {
      shown++
      if (failing) throw new Error('the database is away')
      return [...rows.values()].filter(({ keys }) => keys.includes(filterKey(filter)))
    },
  }
  const seen: string[] = []
  const poller = new ChangePoller({
    feed,
    clock,
    log: silentLogger,
    onChanges: async (changes) => void seen.push(...changes.map(({ id, text }) => `${id} ${text}`)),
  })
  return {
    clock,
    poller,
    seen,
    asked: () => asked,
    shown: () => shown,
    fail: (value: boolean) => {
      failing = value
    },
    /** `behindMs` is how far the clock of the core that writes is behind ours. */
    write(id: string, state: string, behindMs = 0) {
      const changedAtMs = clock.wallMs() - behindMs
      rows.set(id, { id, changedAtMs, keys: keysOf({ commandId: id }), sites: [1], askedBy: null, body: { state } })
    },
    join: async (filter: Filter = {}, isWanted = () => true) => {
      const present: string[] = []
      await poller.join(filter, 100, EVERYWHERE, {
        isWanted,
        admit: (changes) => void present.push(...changes.map(({ id, text }) => `${id} ${text}`)),
      })
      return present
    },
    /** Lets looks happen for so long. */
    async pass(ms: number) {
      for (let passed = 0; passed < ms; passed += 100) {
        clock.advance(100)
        for (let i = 0; i < 20; i++) await Promise.resolve()
      }
    },
  }
}

test('who joins gets the present state of what its filter names, and then the changes', async () => {
  const { write, join, pass, seen } = watched()
  write('a', 'QUEUED')
  write('b', 'QUEUED')
  expect(await join({ commandId: 'a' })).toEqual(['a {"state":"QUEUED"}'])
  expect(seen).toEqual([])
  await pass(1_000)
  expect(seen).toEqual([])
  write('a', 'SENT')
  await pass(300)
  expect(seen).toEqual(['a {"state":"SENT"}'])
  await pass(30_000)
  expect(seen).toHaveLength(1)
})

test('two changes with the same time are two changes; a write that changes nothing is none', async () => {
  const { write, join, pass, seen } = watched()
  await join()
  write('a', 'QUEUED')
  await pass(300)
  write('a', 'SENT', 300)
  await pass(300)
  write('a', 'SENT')
  await pass(300)
  expect(seen).toEqual(['a {"state":"QUEUED"}', 'a {"state":"SENT"}'])
})

test('changes stored by a core whose clock is seconds behind or ahead are seen', async () => {
  const { write, join, pass, seen } = watched()
  await join()
  await pass(5_000)
  write('behind', 'SENT', 6_000)
  write('ahead', 'SENT', -6_000)
  await pass(3_300)
  expect(seen.toSorted()).toEqual(['ahead {"state":"SENT"}', 'behind {"state":"SENT"}'])
  await pass(30_000)
  expect(seen).toHaveLength(2)
})

test('more changes of one moment than a page holds are all seen', async () => {
  const { write, join, pass, seen } = watched()
  await join()
  for (let i = 0; i < 1_700; i++) write(`c-${String(i).padStart(5, '0')}`, 'SENT')
  await pass(300)
  expect(new Set(seen).size).toBe(1_700)
  expect(seen).toHaveLength(1_700)
})

test('who comes long after a look that went on while the last one left is told nothing of what was between', async () => {
  const { write, join, pass, seen, poller, clock, asked } = watched()
  await join()
  const before = asked()
  clock.advance(300)
  // That look has asked, and has no answer yet.
  while (asked() === before) await Promise.resolve()
  poller.rest()
  await pass(1_000)
  clock.advance(3_600_000)
  for (let i = 0; i < 50; i++) write(`c-${i}`, 'SENT')
  clock.advance(60_000)
  await join()
  await pass(1_000)
  expect(seen).toEqual([])
})

test('nothing is missed while the service cannot answer, however long that is', async () => {
  const { write, join, pass, seen, fail } = watched()
  await join()
  await pass(1_000)
  fail(true)
  await expect(join()).rejects.toThrow('the database is away')
  write('a', 'SENT')
  await pass(60_000)
  fail(false)
  await pass(300)
  expect(seen).toEqual(['a {"state":"SENT"}'])
})

test('who left before its turn came costs the service nothing', async () => {
  const { join, shown, asked } = watched()
  const gone = Array.from({ length: 100 }, () => join({}, () => false))
  await Promise.all([...gone, join()])
  expect([shown(), asked()]).toEqual([1, 1])
})

test('nobody is asked while nobody is subscribed', async () => {
  const { write, join, pass, seen, poller, asked } = watched()
  await pass(3_000)
  expect(asked()).toBe(0)
  await join()
  poller.rest()
  const before = asked()
  write('a', 'SENT')
  await pass(3_000)
  expect(asked()).toBe(before)
  expect(await join()).toEqual(['a {"state":"SENT"}'])
  await pass(3_000)
  expect(seen).toEqual([])
})
