import { expect, test } from 'vitest'
import { startChatApi } from '../../support/chat-api.ts'
import type { AnyJson } from '../../support/json-request.ts'
import { until } from '../../support/until.ts'

const viewer = (siteId: number | 'all') => ({ role: 'viewer', siteId }) as const

test('people are those who share a site, with whether they are there, page by page and by what they are called', async () => {
  const { ask, grant, chat, presence } = await startChatApi()
  for (const [userId, siteId] of [
    ['ann', 1],
    ['bob', 1],
    ['cleo', 'all'],
    ['dan', 2],
  ] as const) {
    await grant(userId, viewer(siteId))
  }
  await chat.database.kysely.updateTable('users').set({ name: 'Robert Volt' }).where('id', '=', 'bob').execute()
  const ids = async (who: string, query = '') => {
    return (await ask(who, 'GET', `/people${query}`)).body.items.map(({ userId }: AnyJson) => userId)
  }
  expect(await ids('ann')).toEqual(['ann', 'bob', 'cleo'])
  expect(await ids('dan')).toEqual(['cleo', 'dan'])
  expect(await ids('ann', '?search=rObErT')).toEqual(['bob'])
  expect(await ids('ann', '?search=dan')).toEqual([])
  const first = (await ask('ann', 'GET', '/people?limit=2')).body
  expect(first.items[1]).toEqual({
    userId: 'bob',
    name: 'Robert Volt',
    presence: { state: 'offline', lastSeenAt: null },
  })
  expect(await ids('ann', `?limit=2&cursor=${first.nextCursor}`)).toEqual(['cleo'])
  presence.open('bob', {})
  const shown = await until(async () => {
    const { items } = (await ask('ann', 'GET', '/people?search=bob')).body
    return items[0].presence.state === 'online' && items[0].presence
  })
  expect(shown.lastSeenAt).toMatch(/Z$/)
  for (const query of ['?cursor=e30', `?search=${'x'.repeat(101)}`, '?limit=501', '?userId=bob']) {
    expect((await ask('ann', 'GET', `/people${query}`)).status, query).toBe(422)
  }
  expect(await ids('ann', '?userId=ann')).toHaveLength(3)
  expect((await ask(null, 'GET', '/people')).status).toBe(401)
})

test('where nobody logs in it is said who asks, and those who are in conversations are found', async () => {
  const { ask, chat } = await startChatApi({ nobodyLogsIn: true })
  expect(await ask(null, 'GET', '/people')).toMatchObject({
    status: 422,
    body: { errors: [{ in: 'query', pointer: '/userId' }] },
  })
  await chat.conversation(['ann', 'bob'])
  const { items } = (await ask(null, 'GET', '/people?userId=zoe')).body
  expect(items.map(({ userId }: AnyJson) => userId)).toEqual(['ann', 'bob'])
})
