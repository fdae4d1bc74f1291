import { describe, expect, it, onTestFinished } from 'vitest'
import { MESSAGE_STATUS_EVENTS } from '../../../cloud/bus/catalogue.ts'
import type { StatusRecord } from '../../../cloud/chat/chat.ts'
import { DeliveredQueue } from '../../../cloud/chat/delivered-queue.ts'
import { type Mark, Receipts, type ReceiptsOptions } from '../../../cloud/chat/receipts.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { awayDatabase } from '../../support/away-database.ts'
import { CHAT_SETTINGS, type ChatCore, chatCore } from '../../support/chat-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/until.ts'

function receiptsOf(core: ChatCore, options: Partial<ReceiptsOptions> = {}): Receipts {
  const { database, outbox, membership } = core
  const common = { clock: systemClock, random: systemRandom, log: silentLogger }
  const receipts = new Receipts({ database, outbox, membership, settings: CHAT_SETTINGS, ...common, ...options })
  onTestFinished(() => receipts.stop(AbortSignal.timeout(2_000)))
  return receipts
}

const told = (core: ChatCore) => core.appended<StatusRecord>(MESSAGE_STATUS_EVENTS)

describe('marks that wait', () => {
  const mark = (userId: string, position: number): Mark => ({ userId, conversationId: 'conv', position })

  it('are one a member, the highest, and leave in the order in which they came', () => {
    const queue = new DeliveredQueue(10)
    queue.add([mark('ann', 3), mark('bob', 1), mark('ann', 2), mark('ann', 5)])
    expect(queue.take(1)).toEqual([mark('ann', 5)])
    expect(queue.take(5)).toEqual([mark('bob', 1)])
    expect(queue.size).toBe(0)
  })

  it('are let go, the oldest first, when there are too many', () => {
    const queue = new DeliveredQueue(2)
    queue.add([mark('ann', 1), mark('bob', 1), mark('cid', 1)])
    expect([queue.size, queue.letGo]).toEqual([2, 1])
    expect(queue.take(2).map(({ userId }) => userId)).toEqual(['bob', 'cid'])
  })
})

await describeOnEveryDatabase('receipts', (databases) => {
  it('tells everybody who wrote what came, once, and the user too', async () => {
    const core = chatCore(await databases.open())
    const receipts = receiptsOf(core)
    const conversationId = await core.conversation(['ann', 'bob', 'cid', 'dan'])
    await core.say('ann', conversationId, 'one')
    await core.say('cid', conversationId, 'two')
    const last = await core.say('ann', conversationId, 'three')
    await receipts.delivered([{ userId: 'bob', conversationId, position: 2 }])
    await receipts.delivered([{ userId: 'bob', conversationId, position: 3 }])
    expect(await told(core)).toMatchObject([
      { conversationId, status: 'DELIVERED', userId: 'bob', position: 2, recipientIds: ['ann', 'cid', 'bob'] },
      { status: 'DELIVERED', position: 3, messageId: last.id, recipientIds: ['ann', 'bob'] },
    ])
    expect(await core.member(conversationId, 'bob')).toMatchObject({ deliveredPosition: 3, readPosition: 0 })
    expect(receipts.stats()).toMatchObject({ delivered: 2, records: 2, waiting: 0 })
  })

  it('goes no further than the conversation, never back, and not for who is not in it', async () => {
    const core = chatCore(await databases.open())
    const receipts = receiptsOf(core)
    const conversationId = await core.conversation(['ann', 'bob', 'cid'])
    await core.say('ann', conversationId, 'one')
    await core.leave(conversationId, 'cid')
    await receipts.delivered([
      { userId: 'bob', conversationId, position: 99 },
      { userId: 'cid', conversationId, position: 1 },
      { userId: 'eve', conversationId, position: 1 },
      { userId: 'bob', conversationId: 'conv-000000000000000000000000', position: 1 },
      { userId: 'bob', conversationId: 'no conversation', position: 1 },
      { userId: 'bob', conversationId, position: Number.NaN },
    ])
    await receipts.delivered([{ userId: 'bob', conversationId, position: 0 }])
    expect((await core.member(conversationId, 'bob')).deliveredPosition).toBe(1)
    expect((await core.member(conversationId, 'cid')).deliveredPosition).toBe(0)
    expect(await told(core)).toMatchObject([{ userId: 'bob', position: 1 }])
  })

  it('says nothing to anybody of what a user has sent to themselves only, but moves the mark', async () => {
    const core = chatCore(await databases.open())
    const receipts = receiptsOf(core)
    const conversationId = await core.conversation(['ann', 'bob'])
    await core.say('ann', conversationId, 'one')
    await receipts.delivered([{ userId: 'ann', conversationId, position: 1 }])
    expect((await core.member(conversationId, 'ann')).deliveredPosition).toBe(1)
    expect(await told(core)).toEqual([])
  })

  it('stores in one transaction what comes within a moment, and later what comes while the database is away', async () => {
    const core = chatCore(await databases.open())
    const away = awayDatabase(core.database)
    const clock = new ManualClock()
    const receipts = receiptsOf(core, { database: away.database, clock })
    const conversationId = await core.conversation(['ann', 'bob', 'cid'])
    for (const text of ['one', 'two', 'three']) await core.say('ann', conversationId, text)
    const marks = [1, 2].flatMap((position) => ['bob', 'cid'].map((userId) => ({ userId, conversationId, position })))
    const stored = Promise.all(marks.map((mark) => receipts.delivered([mark])))
    clock.advance(100)
    await stored
    expect(away.transactions).toBe(1)
    expect((await told(core)).map(({ position }) => position)).toEqual([2, 2])

    away.isAway = true
    const failed = receipts.delivered([{ userId: 'bob', conversationId, position: 3 }])
    clock.advance(100)
    await failed
    expect(receipts.stats()).toMatchObject({ delivered: 2, waiting: 1 })
    away.isAway = false
    await until(async () => {
      clock.advance(100)
      return (await core.member(conversationId, 'bob')).deliveredPosition === 3
    })
  })

  it('stores what waits when it stops', async () => {
    const core = chatCore(await databases.open())
    const receipts = receiptsOf(core, { clock: new ManualClock() })
    const conversationId = await core.conversation(['ann', 'bob'])
    await core.say('ann', conversationId, 'one')
    const stored = receipts.delivered([{ userId: 'bob', conversationId, position: 1 }])
    await receipts.stop(AbortSignal.timeout(2_000))
    await stored
    expect((await core.member(conversationId, 'bob')).deliveredPosition).toBe(1)
  })

  it('moves both marks by what was read, and answers where they are', async () => {
    const core = chatCore(await databases.open())
    const receipts = receiptsOf(core)
    const conversationId = await core.conversation(['ann', 'bob'])
    await core.say('ann', conversationId, 'one')
    const second = await core.say('ann', conversationId, 'two')
    const heard: unknown[] = []
    const marks = { conversationId, userId: 'bob', readPosition: 2, deliveredPosition: 2 }
    expect(await receipts.read('bob', conversationId, 7, async (moved) => void heard.push(moved))).toEqual(marks)
    expect(await receipts.read('bob', conversationId, 1)).toEqual(marks)
    expect(heard).toEqual([marks])
    await receipts.delivered([{ userId: 'bob', conversationId, position: 2 }])
    expect(await told(core)).toMatchObject([
      { status: 'READ', userId: 'bob', position: 2, messageId: second.id, recipientIds: ['ann', 'bob'] },
    ])
    expect(await core.member(conversationId, 'bob')).toMatchObject({ readPosition: 2, deliveredPosition: 2 })
    expect((await core.member(conversationId, 'bob')).readAtMs).not.toBeNull()
  })

  it('refuses who is not in it, and what is no position', async () => {
    const core = chatCore(await databases.open())
    const receipts = receiptsOf(core)
    const conversationId = await core.conversation(['ann', 'bob'])
    await expect(receipts.read('eve', conversationId, 1)).rejects.toMatchObject({ code: 'CONVERSATION_UNKNOWN' })
    await expect(receipts.read('ann', 'nothing', 1)).rejects.toMatchObject({ code: 'CONVERSATION_UNKNOWN' })
    for (const position of [-1, 1.5, Number.NaN]) {
      const refused = { code: 'INVALID_INPUT', fields: [{ pointer: '/position' }] }
      await expect(receipts.read('ann', conversationId, position)).rejects.toMatchObject(refused)
    }
    const also = () => Promise.reject(new Error('not written down'))
    await core.say('ann', conversationId, 'one')
    await expect(receipts.read('bob', conversationId, 1, also)).rejects.toThrow('not written down')
    expect((await core.member(conversationId, 'bob')).readPosition).toBe(0)
    expect(await told(core)).toEqual([])
  })

  it('keeps the marks of a large conversation, and tells of reading only the reader', async () => {
    const core = chatCore(await databases.open())
    const receipts = receiptsOf(core, { settings: { receiptsMembersMax: 2 } })
    const conversationId = await core.conversation(['ann', 'bob', 'cid'])
    await core.say('ann', conversationId, 'one')
    await receipts.delivered([{ userId: 'bob', conversationId, position: 1 }])
    await receipts.read('cid', conversationId, 1)
    expect((await core.member(conversationId, 'bob')).deliveredPosition).toBe(1)
    expect(await told(core)).toMatchObject([{ status: 'READ', userId: 'cid', recipientIds: ['cid'] }])
  })

  it('does not tell a sender who left, or may not see any more what it is about', async () => {
    const core = chatCore(await databases.open())
    const receipts = receiptsOf(core)
    const conversationId = await core.conversation(['ann', 'bob', 'cid', 'dan'], { kind: 'site', id: '7' })
    for (const senderId of ['ann', 'cid', 'dan']) await core.say(senderId, conversationId, 'hello')
    await core.leave(conversationId, 'dan')
    // Who is no user sees all; from now on this one is, and sees nothing.
    await core.addUser('cid', [])
    await receipts.delivered([{ userId: 'bob', conversationId, position: 3 }])
    expect(await told(core)).toMatchObject([{ recipientIds: ['ann', 'bob'] }])
  })

  it('never goes back with two cores at once, and tells of each advance once', async () => {
    const url = await databases.freshUrl()
    const cores = [chatCore(await databases.open({ url })), chatCore(await databases.open({ url }))]
    const [one] = cores as [ChatCore, ChatCore]
    const conversationId = await one.conversation(['ann', 'bob', 'cid'])
    const other = await one.conversation(['ann', 'bob'])
    for (let i = 0; i < 8; i++) await one.say('ann', i % 2 === 0 ? conversationId : other, 'hello')
    const receipts = cores.map((core) => receiptsOf(core))
    const said = [3, 1, 4, 2, 4].flatMap((position, i) => {
      const both = receipts[i % 2] as Receipts
      const marks = [
        { userId: 'cid', conversationId, position },
        { userId: 'bob', conversationId: other, position },
        { userId: 'bob', conversationId, position },
      ]
      return [both.delivered(marks), both.read('bob', conversationId, 5 - position)]
    })
    await Promise.all(said)
    expect(await one.member(conversationId, 'bob')).toMatchObject({ deliveredPosition: 4, readPosition: 4 })
    expect((await one.member(conversationId, 'cid')).deliveredPosition).toBe(4)
    const records = await told(one)
    const moved = receipts.map((each) => each.stats()).reduce((sum, { delivered, read }) => sum + delivered + read, 0)
    expect(records.length).toBe(moved)
    for (const own of Map.groupBy(records, (each) => [each.userId, each.conversationId, each.status].join()).values()) {
      const positions = own.map(({ position }) => position)
      expect(positions).toEqual([...new Set(positions)].sort((a, b) => a - b))
    }
  })
})
