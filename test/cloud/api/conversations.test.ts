/** Conversations and who is in them, over REST, with the real services and callers of all kinds. */

import { expect, test } from 'vitest'
import { type ChatApi, type ChatApiOptions, startChatApi } from '../../support/chat-api.ts'
import type { AnyJson } from '../../support/json-request.ts'

const viewer = (siteId: number | 'all') => ({ role: 'viewer', siteId }) as const
const PATH = '/conversations'
const NONE = `conv-${'0'.repeat(24)}`
const KEY = 'api-key:0123456789abcdef'

async function startPeople(options: ChatApiOptions = {}): Promise<ChatApi> {
  const api = await startChatApi(options)
  for (const userId of ['ann', 'bob', 'eve']) await api.grant(userId, viewer(1))
  await api.grant('dan', viewer(2))
  await api.grant('root', { role: 'admin', siteId: 'all' })
  return api
}

async function groupOf({ ask }: ChatApi, owner: string, ...userIds: string[]): Promise<string> {
  const begun = await ask(owner, 'POST', PATH, { kind: 'group', title: 'Night shift', userIds })
  expect(begun.status).toBe(201)
  return begun.body.conversationId
}

const pointersOf = ({ body }: { body: AnyJson }) => body.errors.map(({ pointer }: AnyJson) => pointer)

test('a group is a new one each time, and the same request sent twice begins one', async () => {
  const { ask } = await startPeople()
  const wanted = { kind: 'group', title: 'Night shift', userIds: ['bob', 'eve', 'bob', 'ann'] }
  const begun = await ask('ann', 'POST', PATH, wanted, { 'idempotency-key': 'k1' })
  expect(begun).toMatchObject({
    status: 201,
    body: { kind: 'group', title: 'Night shift', subject: null, with: null, link: null, role: 'owner', memberCount: 3 },
  })
  const { conversationId } = begun.body
  expect(begun.headers.get('location')).toBe(`/api/v1/conversations/${conversationId}`)
  expect(begun.body.lastMessage).toMatchObject({ kind: 'NOTICE', senderId: 'ann', notice: { action: 'created' } })
  expect((await ask('ann', 'POST', PATH, wanted, { 'idempotency-key': 'k1' })).body).toEqual(begun.body)
  expect((await ask('ann', 'POST', PATH, wanted)).body.conversationId).not.toBe(conversationId)
  expect((await ask('bob', 'GET', `${PATH}/${conversationId}`)).body).toMatchObject({ role: 'member', unreadCount: 0 })
})

test('two people have one conversation, and so has a site; who may not see it cannot tell that there is one', async () => {
  const api = await startPeople()
  const { ask, core, grant } = api
  await core.registry.sites.create({ id: 1, name: 'Substation North' })
  const direct = await ask('ann', 'POST', PATH, { kind: 'direct', with: 'bob' })
  expect(direct).toMatchObject({ status: 201, body: { kind: 'direct', title: 'bob', with: 'bob', memberCount: 2 } })
  const { conversationId } = direct.body
  expect(await ask('bob', 'POST', PATH, { kind: 'direct', with: 'ann' })).toMatchObject({
    status: 200,
    body: { conversationId, with: 'ann' },
  })
  const about = await ask('ann', 'POST', PATH, { kind: 'site', siteId: 1 })
  expect(about).toMatchObject({
    status: 201,
    body: { title: 'Substation North', link: '/api/v1/sites/1', subject: { kind: 'site', id: '1' }, memberCount: 1 },
  })
  const id = about.body.conversationId
  expect(await ask('eve', 'POST', PATH, { kind: 'site', siteId: 1 })).toMatchObject({
    status: 200,
    body: { conversationId: id, memberCount: 2 },
  })
  const hidden = await ask('dan', 'POST', PATH, { kind: 'site', siteId: 1 })
  const missing = await ask('root', 'POST', PATH, { kind: 'site', siteId: 77 })
  expect(hidden).toMatchObject({ status: 422, body: { code: 'INVALID_INPUT', errors: [{ pointer: '/siteId' }] } })
  expect(hidden.body.detail).toBe(missing.body.detail)
  // Who may not see the site any more is not in it any more, until they may again.
  await grant('eve', viewer(2))
  expect((await ask('eve', 'GET', `${PATH}/${id}`)).status).toBe(404)
  expect((await ask('eve', 'GET', PATH)).body.items).toEqual([])
  const { items } = (await ask('ann', 'GET', `${PATH}/${id}/members`)).body
  expect(items.map(({ userId, sees }: AnyJson) => [userId, sees])).toEqual([
    ['ann', true],
    ['eve', false],
  ])
  await grant('eve', viewer(1))
  expect((await ask('eve', 'GET', `${PATH}/${id}`)).status).toBe(200)
})

test('what is wrong with a new one is said of what was meant, with all that is wrong', async () => {
  const { ask, grant } = await startPeople()
  await grant(KEY, { role: 'admin', siteId: 'all' })
  const wrong = async (body: object) => pointersOf(await ask('ann', 'POST', PATH, body))
  expect(await wrong({})).toEqual(['/kind'])
  expect(await wrong({ kind: 'channel', title: 'x' })).toEqual(['/kind'])
  expect(await wrong([])).toEqual([''])
  expect(await wrong({ kind: 'group', userIds: ['a b'], with: 'bob' })).toEqual(['/title', '/with', '/userIds/0'])
  for (const title of ['', ' x', 'a\nb', 'x'.repeat(201), 7]) {
    expect(await wrong({ kind: 'group', title }), String(title)).toEqual(['/title'])
  }
  for (const other of ['ann', 'dan', 'nobody', KEY]) {
    expect(await wrong({ kind: 'direct', with: other }), other).toEqual(['/with'])
  }
  expect(await wrong({ kind: 'group', title: 'x', userIds: ['bob', 'dan'] })).toEqual(['/userIds/1'])
  expect(await wrong({ kind: 'task', taskId: '0'.repeat(24) })).toEqual(['/taskId'])
  expect(await wrong({ kind: 'alert', alertId: `alert-${'0'.repeat(24)}` })).toEqual(['/alertId'])
  expect(await wrong({ kind: 'site', siteId: 1, userId: 'bob' })).toEqual(['/userId'])
  expect(await ask(KEY, 'POST', PATH, { kind: 'group', title: 'x' })).toMatchObject({
    status: 403,
    body: { code: 'PERSON_REQUIRED' },
  })
})

test('they are listed, where something was said last first, and archived ones when asked for', async () => {
  const api = await startPeople({ settings: { conversationsMax: 4 } })
  const { ask, chat } = api
  const ids = [await groupOf(api, 'ann', 'bob'), await groupOf(api, 'ann', 'bob'), await groupOf(api, 'ann')]
  await chat.say('bob', ids[0] as string, '<b>Feeder 4</b> trips')
  await chat.say('bob', ids[0] as string, 'Again')
  const list = async (who: string, query = '') => (await ask(who, 'GET', `${PATH}${query}`)).body
  const page = await list('ann', '?limit=2')
  expect(page.items[0]).toMatchObject({
    conversationId: ids[0],
    unreadCount: 2,
    lastRevision: 3,
    readPosition: 0,
    lastMessage: { content: 'Again', senderId: 'bob', position: 3 },
  })
  expect(page.items).toHaveLength(2)
  expect((await list('ann', `?limit=2&cursor=${page.nextCursor}`)).items).toHaveLength(1)
  expect((await list('bob')).items).toHaveLength(2)
  expect((await list('bob', '?kind=direct')).items).toEqual([])
  expect((await list('dan')).items).toEqual([])
  const archived = await ask('ann', 'PATCH', `${PATH}/${ids[0]}`, { archived: true })
  expect(archived.body).toMatchObject({ archivedBy: 'ann', archivedAt: expect.any(String) })
  expect((await list('ann')).items).toHaveLength(2)
  expect((await list('ann', '?archived=true')).items).toHaveLength(3)
  for (const query of ['?archived=perhaps', '?kind=room', '?cursor=e30', '?userId=bob', '?more=1']) {
    expect((await ask('ann', 'GET', `${PATH}${query}`)).status, query).toBe(422)
  }
  await groupOf(api, 'ann')
  expect(await ask('ann', 'POST', PATH, { kind: 'group', title: 'x' })).toMatchObject({
    status: 409,
    body: { code: 'CONVERSATIONS_MAX' },
  })
})

test('owners of a group name and archive it, and others are told that it is for owners', async () => {
  const api = await startPeople()
  const { ask } = api
  const id = await groupOf(api, 'ann', 'bob')
  const change = (who: string, body: object) => ask(who, 'PATCH', `${PATH}/${id}`, body)
  expect((await change('ann', { title: 'Day shift' })).body).toMatchObject({ title: 'Day shift' })
  expect(await change('bob', { title: 'Mine' })).toMatchObject({
    status: 403,
    body: { code: 'CONVERSATION_OWNER_ONLY' },
  })
  expect((await change('ann', { archived: true })).status).toBe(200)
  expect(await change('ann', { title: 'x' })).toMatchObject({ status: 409, body: { code: 'CONVERSATION_ARCHIVED' } })
  expect((await change('ann', { archived: false, title: 'x' })).body).toMatchObject({ title: 'x', archivedAt: null })
  expect((await change('ann', {})).body).toMatchObject({ title: 'x' })
  const { conversationId } = (await ask('ann', 'POST', PATH, { kind: 'direct', with: 'bob' })).body
  expect(pointersOf(await ask('bob', 'PATCH', `${PATH}/${conversationId}`, { title: 'Us' }))).toEqual(['/title'])
})

test('members come, get roles and go; a program too, which owns nothing', async () => {
  const api = await startPeople({ settings: { membersMax: 4 } })
  const { ask, grant } = api
  const id = await groupOf(api, 'ann', 'bob')
  const members = `${PATH}/${id}/members`
  const roles = async () => {
    const { items } = (await ask('ann', 'GET', members)).body
    return items.map(({ userId, role }: AnyJson) => `${userId} ${role}`)
  }
  const added = await ask('ann', 'POST', members, { userIds: ['bob', 'eve'] }, { 'idempotency-key': 'k' })
  expect(added).toMatchObject({ status: 200, body: { added: ['eve'], conversation: { memberCount: 3 } } })
  expect((await ask('ann', 'POST', members, { userIds: ['bob', 'eve'] }, { 'idempotency-key': 'k' })).body).toEqual(
    added.body,
  )
  expect((await ask('bob', 'POST', members, { userIds: ['root'] })).body.code).toBe('CONVERSATION_OWNER_ONLY')
  expect(pointersOf(await ask('ann', 'POST', members, { userIds: ['eve', 'dan'] }))).toEqual(['/userIds/1'])
  expect(pointersOf(await ask('ann', 'POST', members, { userIds: [] }))).toEqual(['/userIds'])
  expect(await ask('ann', 'PATCH', `${members}/bob`, { role: 'owner' })).toMatchObject({
    status: 200,
    body: { userId: 'bob', role: 'owner' },
  })
  expect((await ask('eve', 'PATCH', `${members}/eve`, { role: 'owner' })).body.code).toBe('CONVERSATION_OWNER_ONLY')
  expect((await ask('bob', 'PATCH', `${members}/dan`, { role: 'owner' })).body.code).toBe('MEMBER_UNKNOWN')
  expect((await ask('bob', 'DELETE', `${members}/ann`)).status).toBe(204)
  expect((await ask('ann', 'GET', `${PATH}/${id}`)).status).toBe(404)
  expect((await ask('bob', 'PATCH', `${members}/bob`, { role: 'member' })).body.code).toBe('CONVERSATION_LAST_OWNER')
  expect((await ask('eve', 'DELETE', `${members}/bob`)).body.code).toBe('CONVERSATION_OWNER_ONLY')
  expect((await ask('bob', 'DELETE', `${members}/bob`)).status).toBe(204)
  await ask('eve', 'POST', members, { userIds: ['ann'] })
  expect(await roles()).toEqual(['ann member', 'eve owner'])

  const made = { created_by: 'root', created_at_ms: 1, secret_hash: 'x', scopes: '["*:read"]' }
  const key = { id: KEY.replace('api-key:', ''), name: 'Alarm relay', ...made }
  const { kysely } = api.chat.database
  await kysely.insertInto('api_keys').values(key).execute()
  await kysely.insertInto('api_key_grants').values({ key_id: key.id, role: 'viewer', site_id: 1 }).execute()
  await grant(KEY, viewer(1))
  expect((await ask('eve', 'POST', members, { userIds: [KEY] })).body.added).toEqual([KEY])
  expect((await ask(KEY, 'POST', `${PATH}/${id}/messages`, { content: 'Feeder 4 is hot' })).status).toBe(201)
  expect((await ask('eve', 'PATCH', `${members}/${KEY}`, { role: 'owner' })).body.code).toBe('PERSON_REQUIRED')
  expect((await ask('eve', 'GET', members)).body.items[1]).toMatchObject({ userId: KEY, name: 'Alarm relay' })
})

test('whoever is not in one is told in the same words as of one that there is not', async () => {
  const api = await startPeople()
  const { ask, chat, core, grant } = api
  await grant('dan', viewer(1))
  const id = await groupOf(api, 'ann', 'bob', 'eve')
  const { id: messageId } = await chat.say('ann', id, 'The code is 1234')
  await ask('ann', 'DELETE', `${PATH}/${id}/members/eve`)
  await core.registry.sites.create({ id: 1, name: 'North' })
  const { conversationId: ofSite } = (await ask('bob', 'POST', PATH, { kind: 'site', siteId: 1 })).body
  await ask('dan', 'POST', PATH, { kind: 'site', siteId: 1 })
  await chat.say('bob', ofSite, 'Feeder 4')
  await grant('dan', viewer(2))
  const requests = (conversationId: string) =>
    [
      ['GET', ''],
      ['PATCH', '', { archived: true }],
      ['GET', '/members'],
      ['POST', '/members', { userIds: ['bob'] }],
      ['PATCH', '/members/ann', { role: 'member' }],
      ['DELETE', '/members/ann'],
      ['DELETE', '/members/dan'],
      ['GET', '/messages'],
      ['GET', '/messages?after=0'],
      ['POST', '/messages', { content: 'Hello' }],
      ['GET', `/messages/${messageId}`],
      ['PATCH', `/messages/${messageId}`, { content: 'Other' }],
      ['DELETE', `/messages/${messageId}`],
      ['GET', `/messages/${messageId}/revisions`],
      ['GET', `/messages/${messageId}/receipts`],
      ['POST', '/read', { position: 1 }],
    ].map(([method, path, body]) => [method, `${PATH}/${conversationId}${path}`, body] as const)
  const outsiders = [
    ['dan', id],
    ['eve', id],
    ['dan', ofSite],
  ] as const
  for (const [who, conversationId] of outsiders) {
    const missing = requests(NONE)
    for (const [i, [method, path, body]] of requests(conversationId).entries()) {
      const words = ({ status, body: said }: { status: number; body: AnyJson }) =>
        `${status} ${JSON.stringify(said)}`.replaceAll(/conv-[0-9a-f]{24}/g, '…')
      const answer = await ask(who, method as 'GET', path, body as object)
      const [, pathOfNone = ''] = missing[i] ?? []
      expect(words(answer), `${who} ${method} ${path}`).toBe(
        words(await ask(who, method as 'GET', pathOfNone, body as object)),
      )
      expect(answer).toMatchObject({ status: 404, body: { code: 'CONVERSATION_UNKNOWN' } })
    }
    const search = await ask(who, 'GET', `/messages?search=e&conversationId=${conversationId}`)
    expect(search).toMatchObject({ status: 404, body: { code: 'CONVERSATION_UNKNOWN' } })
    expect((await ask(who, 'GET', '/messages?search=e')).body.items).toEqual([])
  }
  // Nothing of all that had an effect.
  expect((await ask('ann', 'GET', `${PATH}/${id}`)).body).toMatchObject({
    archivedAt: null,
    role: 'owner',
    memberCount: 2,
  })
  for (const path of [`${PATH}/conv-1`, `${PATH}/${id}/messages/msg-1`, `${PATH}/${id}/members/a%20b`]) {
    const method = path.includes('members') ? 'DELETE' : 'GET'
    expect((await ask('ann', method, path)).status, path).toBe(422)
  }
})

test('where nobody logs in it is said who asks, in every request', async () => {
  const { ask } = await startChatApi({ nobodyLogsIn: true })
  const begun = await ask(null, 'POST', PATH, { kind: 'group', title: 'x', userIds: ['bob'], userId: 'ann' })
  const id = begun.body.conversationId
  expect(begun).toMatchObject({ status: 201, body: { createdBy: 'ann' } })
  expect(pointersOf(await ask(null, 'POST', PATH, { kind: 'group', title: 'x' }))).toEqual(['/userId'])
  expect((await ask(null, 'GET', `${PATH}/${id}`)).body.errors).toMatchObject([{ in: 'query', pointer: '/userId' }])
  expect((await ask(null, 'GET', `${PATH}/${id}?userId=bob`)).body).toMatchObject({ role: 'member' })
  expect((await ask(null, 'GET', `${PATH}/${id}?userId=eve`)).status).toBe(404)
  expect((await ask(null, 'DELETE', `${PATH}/${id}/members/bob?userId=bob`)).status).toBe(204)
  expect((await ask(null, 'GET', `${PATH}/${id}?userId=bob`)).status).toBe(404)
})
