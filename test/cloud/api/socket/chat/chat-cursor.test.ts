/** What a socket is sent of a conversation, whatever the bus loses, repeats and reorders. */

import { describe, expect, test } from 'vitest'
import { ChatCursor, type Reading } from '../../../../../cloud/api/socket/chat/chat-cursor.ts'
import { seededRandom } from '../../../../support/seeded-random.ts'

interface Row {
  readonly id: number
  revision: number
}

const changes = (...revisions: number[]) => revisions.map((revision) => ({ revision }))

describe('a cursor', () => {
  test('lets through what follows, once', () => {
    const cursor = new ChatCursor(3)
    expect(changes(3, 4, 4, 5, 2).map((change) => cursor.take(change))).toEqual([false, true, false, true, false])
    expect([cursor.mark, cursor.wants]).toEqual([5, null])
  })

  test('at a gap reads what is missing, and what came meanwhile comes after', () => {
    const cursor = new ChatCursor(3)
    expect(cursor.take({ revision: 5 })).toBe(false)
    expect(cursor.wants).toMatchObject({ after: 3, upTo: null })
    for (const change of changes(7, 6, 6)) expect(cursor.take(change)).toBe(false)
    cursor.sent(4)
    cursor.sent(5)
    expect(cursor.finish(5)).toEqual(changes(6, 7))
    expect([cursor.mark, cursor.wants]).toEqual([7, null])
  })

  test('a socket that took a page in part gets the rest, and nothing again', () => {
    const cursor = new ChatCursor(0)
    cursor.behind(9)
    cursor.sent(4)
    expect(cursor.wants).toMatchObject({ after: 4, upTo: null })
    expect(cursor.take({ revision: 4 })).toBe(false)
    cursor.sent(9)
    expect(cursor.finish(9)).toEqual([])
    expect([cursor.mark, cursor.wants]).toEqual([9, null])
  })

  test('resumes from before where it began, without what was sent since; the next changes wait', () => {
    const cursor = new ChatCursor(10)
    expect(cursor.take({ revision: 11 })).toBe(true)
    cursor.resume(5)
    expect(cursor.wants).toMatchObject({ after: 5, upTo: 10 })
    cursor.resume(2)
    expect(cursor.take({ revision: 12 })).toBe(false)
    cursor.sent(10)
    expect(cursor.finish(10)).toEqual([])
    expect(cursor.wants).toMatchObject({ after: 2, upTo: 5 })
    expect(cursor.finish(5)).toEqual(changes(12))
    expect([cursor.bottom, cursor.mark, cursor.wants]).toEqual([2, 12, null])
    cursor.resume(7)
    cursor.resume(99)
    expect(cursor.wants).toBeNull()
  })

  test('does not believe a revision that the database does not have', () => {
    const cursor = new ChatCursor(3)
    cursor.take({ revision: 1_000_000 })
    expect(cursor.finish(3)).toEqual([])
    expect(cursor.wants).toBeNull()
    expect(cursor.take({ revision: 4 })).toBe(true)
  })

  test('many changes that wait are read rather than kept', () => {
    const cursor = new ChatCursor(0)
    cursor.behind(1)
    for (let revision = 2; revision <= 200; revision++) cursor.take({ revision })
    cursor.sent(1)
    expect(cursor.finish(1)).toEqual([])
    expect(cursor.wants).toMatchObject({ after: 1, upTo: null })
    cursor.sent(180)
    expect(cursor.finish(180).map(({ revision }) => revision)).toEqual(Array.from({ length: 20 }, (_, i) => 181 + i))
  })
})

/**
 * A conversation whose messages come and are edited; a tail that loses, repeats and reorders; a socket that does not take all it
 * is given and goes now and then, to come back with the highest revision that it has seen.
 */
function simulate(seed: number): void {
  const { fraction: random } = seededRandom(seed)
  const chance = (probability: number) => random() < probability
  const rows: Row[] = []
  let last = 0
  let onTail: number[] = []
  /** Revisions by message, as the client has them. */
  const has = new Map<number, number>()
  let highest = 0
  let cursor = new ChatCursor<{ id: number; revision: number }>(0)
  let answer: { reading: Reading; rows: Row[]; upTo: number; more: boolean } | null = null
  let sentHere = new Set<number>()

  const send = ({ id, revision }: Row): void => {
    // Nothing twice on one socket, and by what it has seen before not on all of them either.
    expect(sentHere.has(revision), `${revision} comes twice`).toBe(false)
    expect(has.get(id) ?? 0, 'an old form comes after a new one').toBeLessThan(revision)
    sentHere.add(revision)
    has.set(id, revision)
    highest = Math.max(highest, revision)
  }
  /** What `take` and `finish` gave: some of it may not be taken. */
  const give = (given: readonly Row[]): void => {
    const taken = chance(0.1) ? Math.floor(random() * given.length) : given.length
    for (const each of given.slice(0, taken)) send(each)
    for (const each of given.slice(taken)) cursor.unsent(each.revision)
  }
  const change = (): void => {
    last++
    const row = rows.length > 0 && chance(0.3) ? rows[Math.floor(random() * rows.length)] : undefined
    if (row === undefined) rows.push({ id: rows.length + 1, revision: last })
    else row.revision = last
    onTail.push(last)
  }
  const formOf = new Map<number, number>()
  const deliver = (): void => {
    const at = chance(0.2) ? Math.floor(random() * onTail.length) : 0
    const revision = onTail[at]
    if (revision === undefined) return
    if (!chance(0.1)) onTail = onTail.filter((_, i) => i !== at)
    if (chance(0.1)) return
    const live = { id: formOf.get(revision) ?? 0, revision }
    if (cursor.take(live)) give([live])
  }
  const read = (): void => {
    if (cursor.wants === null || answer !== null) return
    const { after, upTo } = cursor.wants
    const found = rows
      .filter(({ revision }) => revision > after && revision <= (upTo ?? last))
      .toSorted((a, b) => a.revision - b.revision)
      .map((row) => ({ ...row }))
    answer = { reading: cursor.wants, rows: found.slice(0, 3), upTo: upTo ?? last, more: found.length > 3 }
  }
  const hear = (): void => {
    const page = answer
    answer = null
    if (page === null || cursor.wants !== page.reading) return
    const taken = chance(0.2) ? Math.floor(random() * page.rows.length) : page.rows.length
    for (const each of page.rows.slice(0, taken)) {
      send(each)
      cursor.sent(each.revision)
    }
    if (taken === page.rows.length && !page.more) give(cursor.finish(page.upTo))
  }
  const reconnect = (): void => {
    cursor = new ChatCursor(last)
    answer = null
    sentHere = new Set()
    const mark = highest
    // What comes before it resumes is held by the desk.
    cursor.resume(mark)
  }

  const steps = [change, deliver, deliver, read, hear, hear]
  for (let i = 0; i < 400; i++) {
    const step = steps[Math.floor(random() * steps.length)] as () => void
    const before = last
    step()
    if (last > before) formOf.set(last, rows.find(({ revision }) => revision === last)?.id ?? 0)
    if (chance(0.01)) reconnect()
    if (chance(0.02)) cursor.behind(last)
  }
  cursor.behind(last)
  for (let i = 0; i < 1_000 && cursor.wants !== null; i++) {
    read()
    hear()
  }
  const wanted = new Map(rows.map(({ id, revision }) => [id, revision]))
  expect(has).toEqual(wanted)
  expect([cursor.mark, highest]).toEqual([last, last])
}

test('nothing is missing and nothing comes twice, whatever is lost on the way', () => {
  for (let seed = 1; seed <= 300; seed++) {
    try {
      simulate(seed)
    } catch (error) {
      throw new Error(`with seed ${seed}`, { cause: error })
    }
  }
})
