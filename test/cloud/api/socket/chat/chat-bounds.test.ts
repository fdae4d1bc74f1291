/** What is kept for sockets and people, and how much they may ask. */

import { describe, expect, test } from 'vitest'
import type { Channel } from '../../../../../cloud/api/socket/channels.ts'
import { Arrivals } from '../../../../../cloud/api/socket/chat/arrivals.ts'
import { PINGS_MAX, TYPING_MAX, UNPINGED_MAX } from '../../../../../cloud/api/socket/chat/chat-limits.ts'
import { ChatSeat } from '../../../../../cloud/api/socket/chat/chat-seat.ts'
import { PresenceWatch } from '../../../../../cloud/api/socket/chat/presence-watch.ts'
import { TypingShown, TypingThrottle } from '../../../../../cloud/api/socket/chat/typing.ts'
import type { LiveClient } from '../../../../../cloud/api/socket/live-client.ts'
import { RefusalLimit } from '../../../../../cloud/api/socket/refusal-limit.ts'
import type { PresenceChange } from '../../../../../cloud/chat/chat.ts'
import { silentLogger } from '../../../../../shared/log.ts'
import { TokenBucket } from '../../../../../shared/token-bucket.ts'
import { ManualClock } from '../../../../support/manual-clock.ts'
import { until } from '../../../../support/until.ts'

describe('what a socket was sent', () => {
  const at = (position: number, conversationId = 'a') => ({ conversationId, position })

  function pinging() {
    const arrivals = new Arrivals()
    const pings: string[] = []
    const ping = (isSent = true) =>
      arrivals.ping((payload) => {
        if (isSent) pings.push(payload)
        return isSent
      })
    return { arrivals, pings, ping }
  }

  test('has come with the pong behind it, or with a later one; other pongs say nothing', () => {
    const { arrivals, pings, ping } = pinging()
    ping()
    expect(pings).toEqual([])
    for (const position of [1, 2, 3]) {
      arrivals.sent(at(position))
      ping()
    }
    expect(pings).toHaveLength(3)
    for (const payload of ['', 'c', 'c9', 'c0', '1', 'c1 ', 'c99999999999999999999']) {
      expect(arrivals.pong(payload)).toEqual([])
    }
    expect(arrivals.pong(pings[1] as string)).toEqual([at(1), at(2)])
    expect(arrivals.pong(pings[0] as string)).toEqual([])
    expect(arrivals.pong(pings[2] as string)).toEqual([at(3)])
  })

  test('waits for its ping when that was not sent, or when many are not answered', () => {
    const { arrivals, pings, ping } = pinging()
    arrivals.sent(at(1))
    ping(false)
    for (let position = 2; position < 2 + 2 * PINGS_MAX; position++) {
      ping()
      arrivals.sent(at(position))
    }
    expect(pings).toHaveLength(PINGS_MAX)
    expect(arrivals.pong(pings.at(-1) as string)).toHaveLength(PINGS_MAX)
    ping()
    expect(arrivals.pong(pings.at(-1) as string)).toHaveLength(PINGS_MAX + 1)
  })

  test('is kept as the last of each conversation when it is too much', () => {
    const { arrivals, pings, ping } = pinging()
    for (let position = 1; position <= UNPINGED_MAX; position++) arrivals.sent(at(position, position % 2 ? 'a' : 'b'))
    arrivals.sent(at(UNPINGED_MAX + 1))
    ping()
    expect(arrivals.pong(pings[0] as string)).toEqual([at(UNPINGED_MAX + 1), at(UNPINGED_MAX, 'b')])
  })

  test('is kept without what it says until it has come', () => {
    const frames: string[] = []
    const client = {
      put: (frame: string) => frames.push(frame),
      flush(_channel: Channel, _nowMs: number, behind: (sent: number) => void) {
        behind(frames.length)
        return frames.length
      },
      ping: () => true,
    } as Partial<LiveClient> as LiveClient
    const seat = new ChatSeat(client, 'bob', () => undefined)
    seat.begin(new Map([['a', 0]]), 0)
    seat.release()
    const arriving = { ...at(1), sentAtMs: 7 }
    const message = { conversationId: 'a', messageId: 'm', revision: 1, senderId: 'ann', isNew: true, notice: null }
    seat.offer({ ...message, arriving, frame: 'long', ownFrame: 'long' }, 'long')
    seat.flush(0)
    expect(frames).toEqual(['long'])
    expect(seat.arrivals.pong('c1')).toEqual([arriving])
  })
})

test('a bucket gives what is in it at once, then as it fills, and says when there will be enough', () => {
  const bucket = new TokenBucket({ perSecond: 8, burst: 3 }, 0)
  expect([1, 1, 1].map((cost) => bucket.take(cost, 0))).toEqual([0, 0, 0])
  expect(bucket.take(1, 0)).toBe(125)
  expect(bucket.take(1, 62.5)).toBe(63)
  expect(bucket.take(1, 125)).toBe(0)
  expect(bucket.take(3, 100_000)).toBe(0)
  expect(bucket.take(2, 100_000)).toBe(250)
})

test('refusals are counted within a minute', () => {
  const limit = new RefusalLimit(2)
  expect([0, 1, 59_999, 60_000, 60_001, 60_002].map((nowMs) => limit.admits(nowMs))).toEqual([
    true,
    true,
    false,
    true,
    true,
    false,
  ])
})

describe('typing', () => {
  test('is said once in a while, and its end once', () => {
    const throttle = new TypingThrottle(3_000)
    const says = (isTyping: boolean, nowMs: number, userId = 'ann') => throttle.admits(userId, 'c', isTyping, nowMs)
    expect(says(false, 0)).toBe(false)
    expect([says(true, 0), says(true, 2_999), says(true, 2_999, 'bob')]).toEqual([true, false, true])
    expect([says(false, 100), says(false, 101), says(true, 102)]).toEqual([true, false, false])
    expect([says(true, 3_000), says(false, 3_001)]).toEqual([true, true])
  })

  test('is shown until it is too old, and of no more people than are kept', () => {
    const shown = new TypingShown(6_000)
    const record = { conversationId: 'c', userId: 'ann', isTyping: true, timestamp: 0, recipientIds: ['bob'] }
    expect(shown.take(record, 6_001, 0)).toBe(false)
    expect(shown.take({ ...record, isTyping: false }, 0, 0)).toBe(false)
    expect(shown.take(record, 10, 0)).toBe(true)
    expect(shown.take(record, 10, 3_000)).toBe(true)
    expect(shown.expired(8_999)).toEqual([])
    expect(shown.expired(9_000)).toMatchObject([{ userId: 'ann', recipientIds: ['bob'] }])
    expect(shown.size).toBe(0)
    for (let i = 0; i < TYPING_MAX; i++) shown.take({ ...record, userId: `u${i}` }, 0, 0)
    expect(shown.take({ ...record, userId: 'one more' }, 0, 0)).toBe(false)
    expect(shown.end('u0', 'c')).toMatchObject({ userId: 'u0' })
    expect(shown.end('u0', 'c')).toBeNull()
  })
})

test('who is there is told once for each change, and goes on to be when it could not be asked', async () => {
  const clock = new ManualClock()
  const rows: PresenceChange[] = []
  const told: string[] = []
  let failing = false
  let looks = 0
  const watch = new PresenceWatch({
    presence: {
      async changedSince(sinceMs) {
        looks++
        if (failing) throw new Error('the database is away')
        return rows.filter(({ updatedAtMs }) => updatedAtMs >= sinceMs)
      },
      audience: async (userIds) => new Map(userIds.filter((id) => id !== 'stranger').map((id) => [id, ['bob']])),
    },
    localUserIds: () => ['bob'],
    onChange: ({ userId, state }, to) => told.push(`${userId} ${state} to ${to}`),
    clock,
    log: silentLogger,
  })
  const look = async () => {
    const before = looks
    clock.advance(1_500)
    await until(() => looks > before)
    await Promise.resolve()
  }
  const put = (userId: string, state: PresenceChange['state']) => {
    rows.push({ userId, state, lastSeenAtMs: null, updatedAtMs: clock.wallMs() })
  }
  watch.start()
  put('ann', 'online')
  put('stranger', 'online')
  for (let i = 0; i < 3; i++) await look()
  failing = true
  put('ann', 'away')
  for (let i = 0; i < 10; i++) await look()
  failing = false
  await look()
  await watch.stop()
  expect(told).toEqual(['ann online to bob', 'ann away to bob'])
})
