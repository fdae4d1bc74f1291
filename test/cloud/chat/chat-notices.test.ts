import { describe, expect, it, onTestFinished } from 'vitest'
import { ChatNotices } from '../../../cloud/chat/chat-notices.ts'
import { type NoticeMarks, noticeContent, planFor } from '../../../cloud/chat/notice-plan.ts'
import { NoticeStore } from '../../../cloud/chat/notice-store.ts'
import { Receipts } from '../../../cloud/chat/receipts.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { CHAT_SETTINGS, type ChatCore, chatCore } from '../../support/chat-core.ts'
import { type DatabaseUnderTest, describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { notificationCore } from '../../support/notification-core.ts'
import { until } from '../../support/until.ts'

const NOTICE_AFTER_MS = 15_000
let cores = 0

async function setUp(databases: DatabaseUnderTest) {
  const clock = new ManualClock()
  const core = chatCore(await databases.open(), { clock })
  const { notifications } = notificationCore(core.database, null, {}, clock)
  const store = new NoticeStore(core.database)
  const noticesOf = (over: ChatCore) => {
    const notices = new ChatNotices({
      database: over.database,
      notifier: notifications,
      subjects: over.subjects,
      settings: { noticeAfterMs: NOTICE_AFTER_MS },
      coreId: `core-d${++cores}`,
      clock,
      log: silentLogger,
    })
    onTestFinished(() => notices.stop(AbortSignal.timeout(2_000)))
    return notices
  }
  return {
    clock,
    core,
    notices: noticesOf(core),
    /** As the consumer does it for who seems to be there. */
    async lookAfter(conversationId: string, userId: string, position: number) {
      const due = { conversationId, userId, position, dueAtMs: clock.wallMs() + NOTICE_AFTER_MS }
      await core.database.transaction((transaction) => store.addDue([due], transaction))
    },
    async told(userId: string) {
      const { items } = await notifications.inbox.list(userId)
      return items.map(({ content, severity }) => `${severity} ${content}`).sort()
    },
    async due() {
      return (await core.database.kysely.selectFrom('chat_notices_due').selectAll().execute()).map(
        (row) => row.position,
      )
    },
    /** Time passes until it is so. */
    async becomes(condition: () => Promise<boolean>) {
      await until(async () => {
        clock.advance(1_000)
        return await condition()
      })
    },
    async delivered(conversationId: string, userId: string, position: number) {
      const { database, outbox, membership } = core
      const receipts = new Receipts({
        ...{ database, outbox, membership, settings: CHAT_SETTINGS, clock, random: systemRandom, log: silentLogger },
      })
      const stored = receipts.delivered([{ conversationId, userId, position }])
      await receipts.stop(AbortSignal.timeout(2_000))
      await stored
    },
  }
}

describe('whom to tell of messages', () => {
  const marks: NoticeMarks = {
    conversationId: 'conv',
    userId: 'bob',
    readPosition: 2,
    deliveredPosition: 1,
    notifiedPosition: 0,
  }
  const message = (position: number, mentions: readonly string[] = []) => {
    return {
      conversationId: 'conv',
      messageId: `m${position}`,
      senderId: 'ann',
      content: 'x',
      position,
      mentions,
      sentAtMs: 0,
    }
  }

  it('is told of the first that has not come, and of mentions', () => {
    const plan = planFor(marks, [message(1), message(2), message(3), message(4), message(5, ['bob'])], false)
    expect(plan.told.map(({ position }) => position)).toEqual([3, 5])
    expect(plan).toMatchObject({ awaited: null, collapsed: 1, notifiedPosition: 5 })
  })

  it('is told of nothing for now when it may come to them any moment', () => {
    const plan = planFor(marks, [message(2), message(3), message(4)], true)
    expect(plan).toMatchObject({ told: [], awaited: { position: 3 }, collapsed: 0, notifiedPosition: 0 })
  })

  it('is told of mentions only while a notification stands for what has not come', () => {
    const plan = planFor({ ...marks, notifiedPosition: 3 }, [message(4), message(5, ['bob'])], false)
    expect(plan.told.map(({ position }) => position)).toEqual([5])
    expect(planFor({ ...marks, notifiedPosition: 3 }, [message(4)], true)).toMatchObject({
      awaited: null,
      collapsed: 1,
    })
  })

  it('is told of the beginning of a long one, without half a character at its end', () => {
    expect(noticeContent(`${'x'.repeat(198)}😀😀`)).toBe(`${'x'.repeat(198)}😀`)
    expect(noticeContent(`${'x'.repeat(199)}😀`)).toBe('x'.repeat(199))
  })
})

await describeOnEveryDatabase('notices of what has not come', (databases) => {
  it('tell who seemed to be there after a while, once', async () => {
    const { core, notices, lookAfter, told, due, becomes, clock } = await setUp(databases)
    const conversationId = await core.conversation(['ann', 'bob'])
    for (const text of ['one', 'two']) await core.say('ann', conversationId, text)
    await core.say('ann', conversationId, 'three', { mentions: ['bob'] })
    await lookAfter(conversationId, 'bob', 1)
    await notices.start()
    await becomes(async () => (await due()).length === 0)
    expect(await told('bob')).toEqual(['INFO one', 'WARNING three'])
    expect(notices.stats()).toMatchObject({ notified: 2 })
    await lookAfter(conversationId, 'bob', 1)
    clock.advance(NOTICE_AFTER_MS)
    await becomes(async () => (await due()).length === 0)
    expect(await told('bob')).toHaveLength(2)
  })

  it('do not tell who has got it by then, or has left', async () => {
    const { core, notices, lookAfter, told, due, becomes, delivered } = await setUp(databases)
    const conversationId = await core.conversation(['ann', 'bob', 'cid'])
    await core.say('ann', conversationId, 'one')
    for (const userId of ['bob', 'cid']) await lookAfter(conversationId, userId, 1)
    await delivered(conversationId, 'bob', 1)
    await core.leave(conversationId, 'cid')
    await notices.start()
    await becomes(async () => (await due()).length === 0)
    expect([await told('bob'), await told('cid')]).toEqual([[], []])
    expect(notices.stats()).toEqual({ notified: 0, arrived: 2 })
  })

  it('wait as long for what came later than the one that was waited for', async () => {
    const { core, notices, lookAfter, told, due, becomes, delivered, clock } = await setUp(databases)
    const conversationId = await core.conversation(['ann', 'bob'])
    await core.say('ann', conversationId, 'one')
    await lookAfter(conversationId, 'bob', 1)
    clock.advance(NOTICE_AFTER_MS - 1_000)
    await core.say('ann', conversationId, 'two')
    await lookAfter(conversationId, 'bob', 2)
    expect(await due()).toEqual([1])
    await delivered(conversationId, 'bob', 1)
    await notices.start()
    clock.advance(1_000)
    await until(async () => {
      clock.advance(1)
      return (await due())[0] === 2
    })
    expect(await told('bob')).toEqual([])
    await becomes(async () => (await due()).length === 0)
    expect(await told('bob')).toEqual(['INFO two'])
  })
})
