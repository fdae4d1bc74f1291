/** What became of messages: it counts as their coming where nothing of them came before, and brings nobody in who has left. */

import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { openDatabase } from '../../../../../cloud/database/database.ts'
import { systemClock } from '../../../../../shared/clock.ts'
import { silentLogger } from '../../../../../shared/log.ts'
import { Device, type LiveChatCore, liveChatCore } from '../../../../support/live-chat.ts'
import { embeddedBus } from '../../../../support/outbox-relay.ts'
import { tempDir } from '../../../../support/temp-dir.ts'
import { until } from '../../../../support/until.ts'

async function start(): Promise<LiveChatCore> {
  const url = `sqlite:${join(await tempDir(), 'busbar.db')}`
  const database = openDatabase({ url, clock: systemClock, log: silentLogger })
  await database.start()
  onTestFinished(() => database.stop())
  return await liveChatCore(database, url, await embeddedBus())
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
