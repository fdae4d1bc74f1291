import { expect, it, onTestFinished } from 'vitest'
import { CHAT_MESSAGES, MESSAGE_STATUS_EVENTS } from '../../../cloud/bus/catalogue.ts'
import { Receipts } from '../../../cloud/chat/receipts.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { awayDatabase } from '../../support/away-database.ts'
import { CHAT_SETTINGS, type ChatCore, chatCore } from '../../support/chat-core.ts'
import { carrierOf, noticeCore, toldTo } from '../../support/chat-notice-core.ts'
import { type DatabaseUnderTest, describeOnEveryDatabase } from '../../support/databases.ts'
import { embeddedBus } from '../../support/outbox-relay.ts'
import { until } from '../../support/until.ts'

async function setUp(databases: DatabaseUnderTest) {
  const core = chatCore(await databases.open())
  const bus = await embeddedBus()
  const notices = await noticeCore(core, bus)
  const { database, outbox, membership } = core
  const common = { clock: systemClock, random: systemRandom, log: silentLogger }
  const receipts = new Receipts({ database, outbox, membership, settings: CHAT_SETTINGS, ...common })
  onTestFinished(() => receipts.stop(AbortSignal.timeout(2_000)))
  return { core, bus, notices, receipts, ...carrierOf(core, bus, [notices]) }
}

async function dueOf(core: ChatCore) {
  return await core.database.kysely.selectFrom('chat_notices_due').select(['user_id', 'position']).execute()
}

await describeOnEveryDatabase('the consumer of messages', (databases) => {
  it('notifies once for all that comes while somebody is away, and again once they were back', async () => {
    const { core, notices, receipts, carry } = await setUp(databases)
    const conversationId = await core.conversation(['ann', 'bob', 'cid'])
    await core.say('ann', conversationId, 'x'.repeat(300))
    for (let i = 0; i < 30; i++) await core.say('cid', conversationId, `message ${i}`)
    await carry()
    await core.say('cid', conversationId, 'and another one')
    await carry()
    const [first, ...more] = await toldTo(notices, 'bob')
    expect(more).toEqual([])
    expect(first).toMatchObject({
      type: 'NEW_MESSAGE',
      severity: 'INFO',
      title: 'ann in Switchgear',
      content: 'x'.repeat(200),
      relatedEntityId: conversationId,
    })
    // Not of what they wrote themselves.
    expect((await toldTo(notices, 'cid')).map(({ title }) => title)).toEqual(['ann in Switchgear'])
    expect(notices.consumer.stats()).toMatchObject({ notified: 3, awaited: 0 })

    await receipts.delivered([{ userId: 'bob', conversationId, position: 32 }])
    await core.say('cid', conversationId, 'still there?')
    await core.say('cid', conversationId, 'hello?')
    await carry()
    await carry('again')
    expect((await toldTo(notices, 'bob')).map(({ content }) => content)).toEqual(['x'.repeat(200), 'still there?'])
    expect((await toldTo(notices, 'cid')).length).toBe(1)
  })

  it('tells of each mention by itself', async () => {
    const { core, notices, carry } = await setUp(databases)
    const conversationId = await core.conversation(['ann', 'bob', 'cid'])
    await core.say('ann', conversationId, 'one')
    await core.say('ann', conversationId, 'two for bob', { mentions: ['bob'] })
    await core.say('ann', conversationId, 'three')
    await core.say('ann', conversationId, 'four for bob', { mentions: ['bob'] })
    await carry()
    await carry('again')
    const told = (await toldTo(notices, 'bob')).map(({ content, severity }) => [content, severity])
    expect(told.sort()).toEqual([
      ['four for bob', 'WARNING'],
      ['one', 'INFO'],
      ['two for bob', 'WARNING'],
    ])
    expect((await toldTo(notices, 'cid')).map(({ content }) => content)).toEqual(['one'])
  })

  it('looks after who seems to be there, and leaves alone to whom it has come', async () => {
    const { core, notices, receipts, carry } = await setUp(databases)
    const conversationId = await core.conversation(['ann', 'bob', 'cid'], 'direct')
    notices.online.add('bob')
    await core.say('ann', conversationId, 'one')
    await core.say('ann', conversationId, 'two')
    await receipts.delivered([{ userId: 'cid', conversationId, position: 2 }])
    await carry()
    await carry('again')
    expect([await toldTo(notices, 'bob'), await toldTo(notices, 'cid')]).toEqual([[], []])
    expect(await dueOf(core)).toEqual([{ user_id: 'bob', position: 1 }])
  })

  it('tells nobody who left, no API key, not of changes, nor of what was deleted', async () => {
    const { core, notices, carry } = await setUp(databases)
    const conversationId = await core.conversation(['ann', 'bob', 'cid', 'api-key:17'])
    const { id } = await core.say('ann', conversationId, 'a secret')
    await core.messages.remove('ann', conversationId, id)
    await core.notice(conversationId, 'ann', { action: 'renamed', title: 'Switchgear' })
    const second = await core.say('ann', conversationId, 'to whom it may concern')
    await core.messages.edit('ann', conversationId, second.id, { content: 'to all' })
    await core.leave(conversationId, 'cid')
    await carry()
    expect((await toldTo(notices, 'bob')).map(({ content }) => content)).toEqual(['to whom it may concern'])
    expect([await toldTo(notices, 'cid'), await toldTo(notices, 'api-key:17')]).toEqual([[], []])
  })

  it('names who writes to one alone, and the site that a conversation is about, to who may still see it', async () => {
    const { core, notices, carry } = await setUp(databases)
    const direct = await core.conversation(['ann', 'bob'], 'direct')
    const site = await core.conversation(['ann', 'bob', 'cid'], { kind: 'site', id: '7' })
    await core.say('ann', direct, 'hello')
    await core.say('ann', site, 'the breaker is open')
    // Who is no user sees all; from now on this one is, and sees nothing.
    await core.addUser('cid', [])
    await carry()
    const told = (await toldTo(notices, 'bob')).map(({ title, siteId }) => `${title}, site ${siteId}`)
    expect(told.sort()).toEqual(['ann in site 7, site 7', 'ann, site null'])
    expect(await toldTo(notices, 'cid')).toEqual([])
  })

  it('reads in the inbox what was read in the conversation, but not what is still to be read', async () => {
    const { core, notices, receipts, carry } = await setUp(databases)
    const conversationId = await core.conversation(['ann', 'bob'])
    const other = await core.conversation(['ann', 'bob'])
    await core.say('ann', conversationId, 'one')
    await core.say('ann', conversationId, 'two', { mentions: ['bob'] })
    await core.say('ann', other, 'elsewhere')
    await carry()
    const unread = async () => (await notices.notifications.inbox.unreadCount('bob')).unread
    expect(await unread()).toBe(3)
    await receipts.read('bob', conversationId, 1)
    await carry()
    expect(await unread()).toBe(3)
    await receipts.read('bob', conversationId, 2)
    await carry()
    await carry('again')
    expect(await unread()).toBe(1)
    expect(notices.consumer.stats()).toMatchObject({ inboxRead: 2 })
  })

  it('gives up what is none of ours, and goes on', async () => {
    const { core, notices, carry, put } = await setUp(databases)
    const conversationId = await core.conversation(['ann', 'bob'])
    const message = await core.say('ann', conversationId, 'one')
    const [record] = await core.appended<object>(CHAT_MESSAGES)
    const changed = (changes: object) => JSON.stringify({ ...record, ...changes })
    await put(CHAT_MESSAGES, [
      { key: 'a', value: 'no JSON' },
      { key: 'b', value: 'null' },
      { key: 'c', value: changed({ position: 'first' }) },
      { key: 'd', value: changed({ sentAt: 'yesterday' }) },
      { key: 'e', value: changed({ conversationId: 'somewhere' }) },
      { key: 'f', value: changed({ conversationId: 'conv-000000000000000000000000' }) },
    ])
    await put(MESSAGE_STATUS_EVENTS, [
      { key: 'bob', value: JSON.stringify({ messageId: message.id, status: 'EATEN' }) },
    ])
    await carry()
    expect(notices.consumer.stats().consumer.deadLettered).toEqual({
      NOT_JSON: 1,
      VALUE_INVALID: 5,
      CONVERSATION_UNKNOWN: 1,
    })
    expect((await toldTo(notices, 'bob')).length).toBe(1)
  })

  it('goes on where it was when the database comes back', async () => {
    const core = chatCore(await databases.open())
    const bus = await embeddedBus()
    const away = awayDatabase(core.database)
    const notices = await noticeCore(core, bus, { database: away.database })
    const conversationId = await core.conversation(['ann', 'bob'])
    await core.say('ann', conversationId, 'one')
    away.isAway = true
    const carried = carrierOf(core, bus, [notices]).carry()
    await until(() => notices.consumer.stats().consumer.failing !== null)
    away.isAway = false
    await carried
    expect((await toldTo(notices, 'bob')).length).toBe(1)
    expect(notices.consumer.stats().consumer).toMatchObject({ deadLettered: {}, parkedRecords: 0 })
  })

  it('tells once with two cores, whoever of them has which conversation', async () => {
    const url = await databases.freshUrl()
    const cores = [chatCore(await databases.open({ url })), chatCore(await databases.open({ url }))]
    const [core] = cores as [ChatCore]
    const bus = await embeddedBus()
    const notices = [await noticeCore(core, bus), await noticeCore(cores[1] as ChatCore, bus)]
    const { carry } = carrierOf(core, bus, notices)
    const conversationIds: string[] = []
    for (let i = 0; i < 6; i++) conversationIds.push(await core.conversation(['ann', 'bob']))
    for (const conversationId of [...conversationIds, ...conversationIds])
      await core.say('ann', conversationId, 'hello')
    await carry()
    await carry('again')
    const told = await toldTo(notices[0] as (typeof notices)[number], 'bob')
    expect(told.map(({ relatedEntityId }) => relatedEntityId).sort()).toEqual(conversationIds.sort())
    expect(notices.reduce((sum, { consumer }) => sum + consumer.stats().notified, 0)).toBe(6)
  })
})
