import { describe, expect, test } from 'vitest'
import type { CommandRoute } from '../../../edge/broker/command-outlet.ts'
import type { OpenEntry } from '../../../edge/commands/device-line.ts'
import { HeldIds } from '../../../edge/commands/held-ids.ts'
import { HELD_IDS_MAX, HELD_SESSIONS_MAX } from '../../../edge/commands/limits.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'
import { CLOUD_MS, command, startInbox, TestRoute } from './support/inbox.ts'

const entry = {} as OpenEntry

function routeOf(session: string, durable: boolean, ids: readonly number[] = []): CommandRoute {
  let next = 0
  return Object.assign(new TestRoute({ session, durable }), { newPacketId: () => ids[next++] ?? 0 })
}

describe('identifiers that are held', () => {
  test('are those of every command under way, however many one session has', () => {
    const ids = new HeldIds()
    ids.opened(routeOf('s', true))
    for (let packetId = 1; packetId <= 5 * HELD_IDS_MAX; packetId++) ids.hold({ session: 's', packetId }, entry)
    expect(ids.holderOf('s', 1)).toBe(entry)
  })

  test('of commands that ended are given up oldest first, never those under way', () => {
    const ids = new HeldIds()
    ids.hold({ session: 's', packetId: 60_000 }, entry)
    for (let packetId = 1; packetId <= HELD_IDS_MAX + 1; packetId++) {
      ids.hold({ session: 's', packetId }, entry)
      ids.end({ session: 's', packetId })
    }
    expect(ids.holderOf('s', 60_000)).toBe(entry)
    expect(ids.holderOf('s', 1)).toBeUndefined()
    expect(ids.holderOf('s', 2)).toBeNull()
    expect(ids.newPacketId(routeOf('s', true, [60_000, 2, 1]))).toBe(1)
  })

  test('are not those of a session that ended with its connection', () => {
    const ids = new HeldIds()
    ids.keep({ session: 'durable', packetId: 1 })
    for (let n = 0; n <= HELD_SESSIONS_MAX; n++) {
      const route = routeOf(`clean-${n}`, false)
      ids.opened(route)
      ids.hold({ session: route.session, packetId: 1 }, entry)
      ids.closed(route)
      // Its command times out some time after.
      ids.end({ session: route.session, packetId: 1 })
    }
    expect(ids.holderOf('clean-0', 1)).toBeUndefined()
    expect(ids.holderOf('clean-1', 1)).toBeUndefined()
    expect(ids.holderOf('durable', 1)).toBeNull()
  })
})

test('thousands of devices behind one local client finish their handshakes, and none gets its command twice', async () => {
  const count = 3 * HELD_IDS_MAX
  const site = await startInbox(await tempDir(), { inboxMax: 2 * count })
  site.inbox.learnCloudTime(CLOUD_MS)
  const devices = Array.from({ length: count }, (_, index) => ({ siteId: 1, serialNumber: `METER-${index}` }))
  const connect = () => {
    let nextId = 1
    const routes = devices.map(() => Object.assign(new TestRoute(), { newPacketId: () => nextId++ }))
    for (const [index, route] of routes.entries()) site.outlet.events.opened(devices[index] as never, route)
    return routes
  }
  await site.inbox.receive(devices.map(({ serialNumber }, index) => command(`c${index}`, { serialNumber })))
  const first = connect()
  await until(() => first.every(({ frames }) => frames.length === 1))
  for (const [index, route] of first.entries()) site.outlet.events.received(devices[index] as never, route, index + 1)
  await until(() => first.every(({ frames }) => frames.length === 2))
  for (const [index, route] of first.entries()) site.outlet.events.closed(devices[index] as never, route)
  const second = connect()
  await site.inbox.receive([])
  await until(() => second.every(({ frames }) => frames.length > 0))
  expect(second.flatMap(({ frames }) => frames).filter((frame) => !frame.startsWith('release'))).toEqual([])
})
