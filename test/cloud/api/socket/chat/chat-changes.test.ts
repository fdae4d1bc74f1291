/**
 * What became of messages: it counts as their coming where nothing of them came before, brings nobody in who has left, and is
 * not taken back.
 */

import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { MESSAGE_STATUS_EVENTS } from '../../../../../cloud/bus/catalogue.ts'
import type { EmbeddedBus } from '../../../../../cloud/bus/embedded/embedded-bus.ts'
import { openDatabase } from '../../../../../cloud/database/database.ts'
import { systemClock } from '../../../../../shared/clock.ts'
import { silentLogger } from '../../../../../shared/log.ts'
import { Device, type LiveChatCore, liveChatCore } from '../../../../support/live-chat.ts'
import { embeddedBus } from '../../../../support/outbox-relay.ts'
import { tempDir } from '../../../../support/temp-dir.ts'
import { until } from '../../../../support/until.ts'

async function start(): Promise<LiveChatCore & { readonly bus: EmbeddedBus }> {
  const url = `sqlite:${join(await tempDir(), 'busbar.db')}`
  const database = openDatabase({ url, clock: systemClock, log: silentLogger })
  await database.start()
  onTestFinished(() => database.stop())
  const bus = await embeddedBus()
  return { ...(await liveChatCore(database, url, bus)), bus }
}

test('a message that was edited or deleted before it came is delivered by that', async () => {
  const core = await start()
  const { conversation, messages, say, member } = core.chat
  for (const change of ['edited', 'deleted']) {
    const id = await conversation(['ann', 'bob'])
    await say('ann', id, 'first')
    const second = await say('ann', id, 'second')
    if (change === 'edited') await messages.edit('ann', id, second.id, { content: 'the second' })
    else await messages.remove('ann', id, second.id)
    const bob = await Device.open(core, 'bob', { [id]: 1 })
    await bob.hears(1)
    expect(bob.events('message')).toMatchObject([{ change, position: 2, revision: 3 }])
    await until(async () => (await member(id, 'bob')).deliveredPosition === 2)
  }
})

test('who has left is told nothing of what becomes of their messages', async () => {
  const core = await start()
  const { conversation, messages, say, leave, notice } = core.chat
  const id = await conversation(['ann', 'bob'])
  const seen = await Device.open(core, 'bob')
  const said = await say('bob', id, 'mine')
  await notice(id, 'bob', { action: 'left' })
  await leave(id, 'bob')
  await until(() => seen.events('conversation').length === 1)
  const later = await Device.open(core, 'bob')
  const ann = await Device.open(core, 'ann')
  await messages.remove('ann', id, said.id)
  await ann.hears(1)
  for (const bob of [seen, later]) await bob.client.ask({ type: 'ping', id: 'p' }, 'pong')
  expect(seen.events('message').map(({ change }) => change)).toEqual(['created', 'created'])
  expect(seen.events('conversation')).toMatchObject([{ change: 'left' }])
  expect([...later.events('message'), ...later.events('conversation')]).toEqual([])
})

test('how far messages have come is told once, and never taken back, when the bus repeats it', async () => {
  const core = await start()
  const id = await core.chat.conversation(['ann', 'bob'])
  const ann = await Device.open(core, 'ann')
  const status = (position: number, kind: 'SENT' | 'DELIVERED' | 'READ', userId = 'bob') => {
    const names = { messageId: `msg-${position}`, conversationId: id, userId, recipientIds: ['ann'] }
    const value = JSON.stringify({ ...names, status: kind, position, timestamp: '2026-11-21T00:00:00.000Z' })
    return { key: userId, value }
  }
  const some = [status(1, 'DELIVERED'), status(2, 'DELIVERED'), status(2, 'READ'), status(3, 'SENT', 'ann')]
  await core.bus.publish(MESSAGE_STATUS_EVENTS, [...some, ...some, status(1, 'READ', 'ann'), status(4, 'READ')])
  await until(() => ann.events('status').some(({ position }) => position === 4))
  await until(() => ann.events('status').length >= 6)
  const told = ann.events('status').map((each) => `${each.userId} ${each.status} ${each.position}`)
  expect(told.filter((each) => each.startsWith('bob'))).toEqual([
    'bob DELIVERED 1',
    'bob DELIVERED 2',
    'bob READ 2',
    'bob READ 4',
  ])
  expect(told.filter((each) => each.startsWith('ann'))).toEqual(['ann SENT 3', 'ann READ 1'])
})
