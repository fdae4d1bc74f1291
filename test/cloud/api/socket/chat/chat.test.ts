/** What people say, from socket to socket, at two cores of one database and one bus. */

import { expect, test } from 'vitest'
import type { DatabaseHandle } from '../../../../../cloud/database/database.ts'
import { describeOnEveryDatabase } from '../../../../support/databases.ts'
import { Device, type LiveChatCore, liveChatCore } from '../../../../support/live-chat.ts'
import { embeddedBus } from '../../../../support/outbox-relay.ts'
import { until } from '../../../../support/until.ts'

await describeOnEveryDatabase('conversations on the WebSocket', (databases) => {
  async function twoCores(): Promise<{ one: LiveChatCore; other: LiveChatCore; database: DatabaseHandle }> {
    const url = await databases.freshUrl()
    const bus = await embeddedBus()
    const database = await databases.open({ url })
    const one = await liveChatCore(database, url, bus)
    const other = await liveChatCore(await databases.open({ url }), url, bus)
    return { one, other, database }
  }

  test('what one says all others get on every device, in one order, and the sender is told how far it has come', async () => {
    const { one, other } = await twoCores()
    const id = await one.chat.conversation(['ann', 'bob', 'eve'])
    const [ann, phone] = [await Device.open(one, 'ann'), await Device.open(other, 'ann')]
    const [bob, tablet] = [await Device.open(other, 'bob'), await Device.open(one, 'bob')]
    const [eve, dan] = [await Device.open(one, 'eve'), await Device.open(one, 'dan')]
    const everybody = [ann, phone, bob, tablet, eve]
    const markup = '<img src=x onerror=alert(1)> & "quoted" \u2028 %s'
    const links = [{ url: 'https://example.org/a.jpg', name: 'photo' }]
    const sent = await ann.say(id, markup, { clientMessageId: 'first', links, mentions: ['bob'] })
    expect(sent).toMatchObject({ type: 'chat.sent', conversationId: id, position: 1, messageId: expect.any(String) })
    // Two from one socket at once keep their order.
    const two = [bob.say(id, 'two'), bob.say(id, 'three')]
    expect((await Promise.all(two)).map(({ position }) => position)).toEqual([2, 3])
    for (const device of everybody) expect(await device.hears(3)).toEqual([markup, 'two', 'three'])
    const event = eve.events('message')[0]
    expect(event).toMatchObject({
      ...{ change: 'created', senderId: 'ann', clientMessageId: 'first', position: 1, revision: 1, kind: 'MESSAGE' },
      ...{ conversationId: id, messageId: sent.messageId, sentAt: sent.sentAt, links, mentions: ['bob'], notice: null },
    })
    expect(Object.keys(event)).not.toContain('status')
    expect(ann.events('message')[0]).toMatchObject({ messageId: sent.messageId, status: 'SENT' })

    const told = (device: Device) =>
      device
        .events('status')
        .filter(({ userId, position }) => userId !== 'ann' && position >= 1)
        .map(({ status, userId }) => `${userId} ${status}`)
    await until(() => told(ann).includes('bob DELIVERED') && told(ann).includes('eve DELIVERED'))
    expect(await eve.ask({ type: 'chat.read', conversationId: id, position: 3 })).toMatchObject({ type: 'chat.done' })
    for (const device of [ann, phone, bob, tablet]) await until(() => told(device).includes('eve READ'))
    // Read on one, it is known on the other.
    await tablet.ask({ type: 'chat.read', conversationId: id, position: 3 })
    await until(() => bob.events('status').some(({ userId, status }) => userId === 'bob' && status === 'READ'))
    await until(() => told(ann).includes('bob READ'))
    expect(dan.events('message')).toEqual([])
    expect(await one.api.metrics.metrics()).toMatch(/busbar_chat_delivery_seconds_count [1-9]/)
    for (const device of everybody) expect(device.heard).toHaveLength(3)
  })

  test('a message sent again is answered as it was, and said once; edits and deletes are told as such', async () => {
    const { one, other } = await twoCores()
    const id = await one.chat.conversation(['ann', 'bob'], 'direct')
    const [ann, bob] = [await Device.open(one, 'ann'), await Device.open(other, 'bob')]
    const first = await ann.say(id, 'hello')
    const again = await ann.say(id, 'hello')
    expect([again.messageId, again.position]).toEqual([first.messageId, first.position])
    await one.chat.messages.edit('ann', id, first.messageId, { content: 'hello there' })
    await one.chat.messages.remove('ann', id, first.messageId)
    for (const device of [ann, bob]) expect(await device.hears(3)).toEqual(['hello', 'hello there', ''])
    expect(bob.events('message').map(({ change, revision, position }) => [change, revision, position])).toEqual([
      ['created', 1, 1],
      ['edited', 2, 1],
      ['deleted', 3, 1],
    ])
  })

  test('who comes and goes is told so, and gets what is said while they are in it', async () => {
    const { one, other } = await twoCores()
    const id = await one.chat.conversation(['ann', 'bob'])
    const [ann, eve] = [await Device.open(one, 'ann'), await Device.open(other, 'eve')]
    await ann.say(id, 'before')
    await one.chat.join(id, 'eve')
    await one.chat.notice(id, 'ann', { action: 'added', userIds: ['eve'] })
    await ann.say(id, 'meanwhile')
    expect(await eve.hears(2)).toEqual(['', 'meanwhile'])
    expect(eve.events('conversation')).toEqual([
      { event: 'conversation', conversationId: id, change: 'joined', revision: 1 },
    ])
    await one.chat.leave(id, 'eve')
    await one.chat.notice(id, 'ann', { action: 'removed', userIds: ['eve'] })
    await ann.say(id, 'after')
    await ann.hears(5)
    await until(() => eve.events('conversation').length === 2)
    expect(eve.events('conversation')[1]).toMatchObject({ change: 'left' })
    expect(await eve.say(id, 'let me in')).toMatchObject({ type: 'error', code: 'CONVERSATION_UNKNOWN' })
    expect(eve.heard).toHaveLength(2)
  })

  test('a socket that was lost goes on where it was: nothing twice, nothing missing, in order', async () => {
    const { one, other } = await twoCores()
    const id = await one.chat.conversation(['ann', 'bob'])
    const quiet = await one.chat.conversation(['ann', 'bob'])
    const ann = await Device.open(one, 'ann')
    const bob = await Device.open(other, 'bob')
    const say = async (from: number, to: number) => {
      for (let i = from; i <= to; i++) await ann.say(id, `m${i}`)
    }
    await say(1, 3)
    await bob.hears(3)
    bob.client.socket.terminate()
    await say(4, 8)
    const gone = await ann.say(id, 'wrong')
    await one.chat.messages.edit('ann', id, gone.messageId, { content: 'right' })
    const mark = Math.max(...bob.events('message').map(({ revision }) => revision))
    const unknown = `conv-${'0'.repeat(24)}`
    const talking = say(10, 30)
    const back = await Device.open(one, 'bob', { [id]: mark, [quiet]: 0, [unknown]: 7 })
    const resumed = back.client.frames.find(({ type }) => type === 'chat.resumed')
    expect(resumed).toMatchObject({ id: 'resume', more: [], unknown: [unknown] })
    await talking
    await back.hears(27)
    const heard = [...bob.heard, ...back.heard]
    expect(heard.slice(0, 9)).toEqual(['m1', 'm2', 'm3', 'm4', 'm5', 'm6', 'm7', 'm8', 'right'])
    expect(heard.slice(9)).toEqual(Array.from({ length: 21 }, (_, i) => `m${i + 10}`))
    const revisions = back.events('message').map(({ revision }) => revision)
    expect(revisions).toEqual(revisions.toSorted((a, b) => a - b))
    // What it has, and what it is not told again.
    const again = await back.ask({ type: 'chat.resume', marks: { [id]: Math.max(...revisions) } })
    expect(again).toMatchObject({ type: 'chat.resumed', more: [], unknown: [] })
    expect(back.heard).toHaveLength(27)
  })
})
