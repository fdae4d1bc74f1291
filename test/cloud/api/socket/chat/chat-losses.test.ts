/** Messages that the bus or a slow socket loses come all the same, once; what is not kept is told for as long as it holds. */

import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { ChatServices } from '../../../../../cloud/api/socket/chat/chat-desk.ts'
import { CHAT_MESSAGES } from '../../../../../cloud/bus/catalogue.ts'
import { openDatabase } from '../../../../../cloud/database/database.ts'
import { systemClock } from '../../../../../shared/clock.ts'
import { silentLogger } from '../../../../../shared/log.ts'
import { nextTurn } from '../../../../../shared/waiting.ts'
import { Device, type LiveChatCore, type LiveChatOptions, liveChatCore } from '../../../../support/live-chat.ts'
import { ManualClock } from '../../../../support/manual-clock.ts'
import { embeddedBus } from '../../../../support/outbox-relay.ts'
import { tempDir } from '../../../../support/temp-dir.ts'
import { until } from '../../../../support/until.ts'

async function start(options: LiveChatOptions = {}): Promise<LiveChatCore> {
  const url = `sqlite:${join(await tempDir(), 'busbar.db')}`
  const database = openDatabase({ url, clock: systemClock, log: silentLogger })
  await database.start()
  onTestFinished(() => database.stop())
  return await liveChatCore(database, url, await embeddedBus(), options)
}

const numbered = (count: number, from = 1) => Array.from({ length: count }, (_, i) => `m${from + i}`)

test('what the tail of the bus loses or repeats is found in the database, at the next message or soon', async () => {
  const clock = new ManualClock(Date.now())
  let mode: 'all' | 'none' | 'twice' = 'all'
  let onTail = 0
  const lossy = ({ bus }: ChatServices): Partial<ChatServices> => ({
    bus: {
      publish: (topic, records) => bus.publish(topic, records),
      tail: ({ topics, onBatch }) =>
        bus.tail({
          topics,
          async onBatch(batch) {
            if (mode !== 'none') await onBatch(batch)
            if (mode === 'twice') await onBatch(batch)
            if (batch.topic === CHAT_MESSAGES) onTail += batch.records.length
          },
        }),
    },
  })
  const core = await start({ services: lossy, api: { clock } })
  const id = await core.chat.conversation(['ann', 'bob'])
  const bob = await Device.open(core, 'bob')
  const say = async (content: string) => {
    const before = onTail
    await core.chat.say('ann', id, content)
    await until(() => onTail > before)
  }
  await say('m1')
  await bob.hears(1)
  mode = 'none'
  await say('m2')
  await say('m3')
  mode = 'twice'
  await say('m4')
  expect(await bob.hears(4)).toEqual(numbered(4))
  mode = 'none'
  await say('m5')
  clock.advance(30_000)
  await until(() => {
    clock.advance(500)
    return bob.heard.length === 5
  })
  mode = 'all'
  await say('m6')
  await bob.hears(6)
  expect(bob.heard).toEqual(numbered(6))
  expect(core.api.api.chatStats()?.catchUps).toMatchObject({ waiting: 0, failed: 0, messages: 4 })
})

test('what was lost before the database was away for long is found afterwards', async () => {
  const clock = new ManualClock(Date.now())
  let isLossy = false
  let isAway = false
  let failed = 0
  const core = await start({
    services: ({ bus, messages }) => ({
      bus: {
        publish: (topic, records) => bus.publish(topic, records),
        tail: ({ topics, onBatch }) =>
          bus.tail({ topics, onBatch: async (batch) => (isLossy ? undefined : await onBatch(batch)) }),
      },
      messages: {
        send: (...sent) => messages.send(...sent),
        since: (...asked) => messages.since(...asked),
        marksOf: (userId) => messages.marksOf(userId),
        async lastRevisions(...asked) {
          if (!isAway) return await messages.lastRevisions(...asked)
          failed++
          throw new Error('the database is away')
        },
      },
    }),
    api: { clock },
  })
  const id = await core.chat.conversation(['ann', 'bob'])
  const bob = await Device.open(core, 'bob')
  isLossy = true
  await core.chat.say('ann', id, 'm1')
  isAway = true
  for (let i = 1; i <= 6; i++) {
    clock.advance(30_000)
    await until(() => failed === i)
    await nextTurn()
  }
  isAway = false
  await until(() => {
    clock.advance(500)
    return bob.heard.length === 1
  })
})

test('a slow reader gets everything all the same, once and in order, and others do not wait for it', async () => {
  const core = await start({
    settings: { contentCharsMax: 16_000 },
    api: { limits: { clientBufferBytesMax: 300_000 } },
  })
  const id = await core.chat.conversation(['ann', 'bob', 'eve'])
  const [slow, swift] = [await Device.open(core, 'bob'), await Device.open(core, 'eve')]
  slow.client.socket.pause()
  // Three bytes each: more in all than the kernel keeps.
  const long = '電'.repeat(15_900)
  const count = 400
  // So few that they fit into the buffer of who reads.
  for (let i = 0; i < count; i += 5) {
    await Promise.all(numbered(5, i + 1).map((content) => core.chat.say('ann', id, `${content} ${long}`)))
    await until(() => swift.heard.length === i + 5, { pollMs: 2 })
  }
  const heardBy = (device: Device) => device.heard.map((content) => content.split(' ')[0])
  const delivered = async (userId: string) => (await core.chat.member(id, userId)).deliveredPosition
  await until(async () => (await delivered('eve')) === count)
  expect(await delivered('bob')).toBeLessThan(count)
  slow.client.socket.resume()
  await until(() => slow.heard.length === count)
  expect(heardBy(slow)).toEqual(numbered(count))
  expect(heardBy(swift)).toEqual(numbered(count))
  expect(slow.client.frames.some(({ type, channel }) => type === 'missed' && channel === 'chat')).toBe(true)
  expect(swift.client.frames.some(({ type }) => type === 'missed')).toBe(false)
  await until(async () => (await delivered('bob')) === count)
  await core.chat.say('ann', id, 'last')
  await until(() => slow.heard.length === count + 1)
})

test('messages wait for a socket to say from where it resumes, but not for long', async () => {
  const clock = new ManualClock(Date.now())
  const core = await start({ api: { clock } })
  const id = await core.chat.conversation(['ann', 'bob'])
  await core.chat.say('ann', id, 'm1')
  const seen = await Device.open(core, 'bob')
  for (const resumes of [true, false]) {
    const bob = await Device.open(core, 'eve')
    await bob.client.ask({ type: 'unsubscribe', id: 'chat' }, 'unsubscribed')
    await bob.client.ask({ type: 'subscribe', id: 's', channel: 'chat', filter: { userId: 'bob' } }, 'subscribed')
    await core.chat.say('ann', id, 'then')
    await until(() => seen.heard.at(-1) === 'then')
    await bob.client.ask({ type: 'ping', id: 'p' }, 'pong')
    expect(bob.heard).toEqual([])
    if (resumes) await bob.ask({ type: 'chat.resume', marks: { [id]: 0 } })
    else clock.advance(1_000)
    await until(() => bob.heard.at(-1) === 'then')
    expect(bob.heard).toEqual(resumes ? ['m1', 'then'] : ['then'])
  }
})

test('who is typing is told now and then, and ends by itself, by a word, and by what was typed', async () => {
  const clock = new ManualClock(Date.now())
  const core = await start({ api: { clock } })
  const id = await core.chat.conversation(['ann', 'bob', 'eve'])
  const [ann, bob] = [await Device.open(core, 'ann'), await Device.open(core, 'bob')]
  const type = (isTyping: boolean) => ann.ask({ type: 'chat.typing', conversationId: id, isTyping })
  const told = () => bob.events('typing').map(({ isTyping }) => isTyping)
  for (let i = 0; i < 5; i++) expect(await type(true)).toMatchObject({ type: 'chat.done' })
  await until(() => told().length === 1)
  expect(bob.events('typing')[0]).toEqual({ event: 'typing', conversationId: id, userId: 'ann', isTyping: true })
  for (let i = 0; i < 3; i++) await type(false)
  await until(() => told().length === 2)
  // Of who fell silent.
  clock.advance(3_000)
  await type(true)
  await until(() => told().length === 3)
  clock.advance(6_500)
  await until(() => told().length === 4)
  await type(true)
  await until(() => told().length === 5)
  await ann.say(id, 'so')
  await bob.hears(1)
  expect(told()).toEqual([true, false, true, false, true, false])
  const kinds = bob.client.events.map(({ data }) => data.event).filter((event) => event !== 'presence')
  expect(kinds.slice(-2)).toEqual(['typing', 'message'])
  expect(ann.events('typing')).toEqual([])
  expect(core.api.api.chatStats()?.typing).toMatchObject({ published: 4, throttled: 6, busy: 0, failed: 0, shown: 0 })
  expect(await core.chat.appended('typing-events')).toEqual([])
})

test('who comes, is away and goes is told to those with whom they share a conversation', async () => {
  const clock = new ManualClock(Date.now())
  const core = await start({ api: { clock } })
  await core.chat.conversation(['ann', 'bob'])
  await core.chat.conversation(['dan', 'eve'])
  const [ann, dan] = [await Device.open(core, 'ann'), await Device.open(core, 'dan')]
  const bob = await Device.open(core, 'bob')
  const states = () => ann.events('presence').filter(({ userId }) => userId === 'bob')
  const isTold = (state: string) =>
    until(() => {
      clock.advance(1_500)
      // Who is there is stored by the time that it is.
      clock.stepWall(-1_500)
      return states().at(-1)?.state === state
    })
  await isTold('online')
  await bob.ask({ type: 'chat.state', state: 'away' })
  await isTold('away')
  bob.client.socket.terminate()
  await isTold('offline')
  expect(states().at(-1)).toEqual({
    event: 'presence',
    userId: 'bob',
    state: 'offline',
    lastSeenAt: expect.stringMatching(/Z$/),
  })
  expect(dan.events('presence')).toEqual([])
})
