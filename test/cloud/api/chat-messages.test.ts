/** Messages over REST: sent once, read again, changed with a trace, and how far they have come. */

import { expect, test } from 'vitest'
import { type ChatApi, type ChatApiOptions, startChatApi } from '../../support/chat-api.ts'
import type { AnyJson } from '../../support/json-request.ts'

const viewer = (siteId: number | 'all') => ({ role: 'viewer', siteId }) as const
const NO_MESSAGE = `msg-${'0'.repeat(24)}`

interface Talk extends ChatApi {
  /** A group of ann, who owns it, bob and eve. */
  readonly id: string
  readonly path: string
}

async function startTalk(options: ChatApiOptions = {}): Promise<Talk> {
  const api = await startChatApi(options)
  for (const userId of ['ann', 'bob', 'eve', 'dan']) await api.grant(userId, viewer(1))
  await api.grant('root', { role: 'auditor', siteId: 'all' })
  const id = await api.chat.conversation(['ann', 'bob', 'eve'])
  return { ...api, id, path: `/conversations/${id}/messages` }
}

const pointersOf = ({ body }: { body: AnyJson }) =>
  body.errors.map(({ in: place, pointer }: AnyJson) => place + pointer)
const contentsOf = ({ body }: { body: AnyJson }) => body.items.map(({ content }: AnyJson) => content)

test('a message is stored once, whether it is sent again by its name or by an idempotency key', async () => {
  const { ask, id, path, chat } = await startTalk()
  const said = {
    ...{ clientMessageId: 'm-1', content: '<script>alert(1)</script> & "Feeder 4"', mentions: ['bob'] },
    links: [{ url: 'https://files.example/photo.jpg', name: 'Photo' }, { url: 'http://wiki.example/4' }],
  }
  const sent = await ask('ann', 'POST', path, said)
  expect(sent).toMatchObject({
    status: 201,
    body: {
      ...{ conversationId: id, senderId: 'ann', kind: 'MESSAGE', position: 1, revision: 1, clientMessageId: 'm-1' },
      ...{ content: said.content, mentions: ['bob'], notice: null, editedAt: null, deletedAt: null, status: 'PENDING' },
      links: [said.links[0], { url: 'http://wiki.example/4', name: null }],
    },
  })
  const { messageId } = sent.body
  expect(sent.headers.get('location')).toBe(`/api/v1${path}/${messageId}`)
  expect(await ask('ann', 'POST', path, said)).toMatchObject({ status: 200, body: { messageId, position: 1 } })
  expect(await ask('ann', 'POST', path, { ...said, content: 'Other' })).toMatchObject({
    status: 409,
    body: { code: 'MESSAGE_ID_REUSED' },
  })
  const key = { 'idempotency-key': 'k1' }
  const keyed = await ask('ann', 'POST', path, { content: 'Hello' }, key)
  expect(await ask('ann', 'POST', path, { content: 'Hello' }, key)).toMatchObject({ status: 201, body: keyed.body })
  expect((await ask('ann', 'POST', path, { content: 'Other' }, key)).body.code).toBe('IDEMPOTENCY_KEY_REUSED')
  // Of another it is another one.
  expect(await ask('bob', 'POST', path, said)).toMatchObject({ status: 201, body: { position: 3 } })
  expect((await ask('bob', 'GET', `${path}/${messageId}`)).body).toMatchObject({ content: said.content, status: null })
  expect(await chat.appended('chat-messages')).toHaveLength(3)
})

test('what a message may not be is said of each value, and nothing is stored', async () => {
  const { ask, path, chat, id } = await startTalk({ settings: { contentCharsMax: 20, linksMax: 1, mentionsMax: 2 } })
  const wrong = async (body: object) => pointersOf(await ask('ann', 'POST', path, body))
  for (const content of ['', ' \n\t', 'x'.repeat(21), 'x'.repeat(16_001), 'a\0b', '\ud800', 7]) {
    expect(await wrong({ content }), JSON.stringify(content).slice(0, 30)).toEqual(['body/content'])
  }
  const link = (url: string) => ({ content: 'x', links: [{ url }] })
  for (const url of ['javascript:alert(1)', 'file:///etc/passwd', 'https://ann:secret@files.example', '//x', '']) {
    expect(await wrong(link(url)), url).toEqual(['body/links/0/url'])
  }
  expect(await wrong({ content: 'x', links: [{ url: 'http://a.example' }, { url: 'http://b.example' }] })).toEqual([
    'body/links',
  ])
  expect(await wrong({ content: 'x', mentions: ['bob', 'dan'] })).toEqual(['body/mentions/1'])
  expect(await wrong({ content: 'x', mentions: ['ann', 'bob', 'eve'] })).toEqual(['body/mentions'])
  expect(await wrong({ content: 'x', clientMessageId: 'a b', userId: 'bob' })).toEqual(['body/clientMessageId'])
  expect(await wrong({ content: 'x', userId: 'bob' })).toEqual(['body/userId'])
  expect(await wrong({ content: 'x', html: true })).toEqual(['body/html'])
  expect((await ask('ann', 'POST', path, { content: 'x', links: [] })).body.position).toBe(1)
  await chat.archive(id)
  expect(await ask('ann', 'POST', path, { content: 'x' })).toMatchObject({
    status: 409,
    body: { code: 'CONVERSATION_ARCHIVED' },
  })
})

test('who writes too much is told when to go on', async () => {
  const { ask, path } = await startTalk({ settings: { messagesPerMinute: 20, messagesBurst: 2 } })
  const { messageId } = (await ask('ann', 'POST', path, { content: 'One' })).body
  await ask('ann', 'PATCH', `${path}/${messageId}`, { content: 'Two' })
  const refused = await ask('ann', 'POST', path, { content: 'Three' })
  expect(refused).toMatchObject({ status: 429, body: { code: 'RATE_LIMITED', hint: expect.any(String) } })
  expect(refused.headers.get('retry-after')).toBe('3')
  expect((await ask('bob', 'POST', path, { content: 'Four' })).status).toBe(201)
})

test('history comes the newest first, and what happened after a revision in its order', async () => {
  const { ask, id, path, chat } = await startTalk()
  for (let i = 1; i <= 5; i++) await chat.say('bob', id, `m${i}`)
  const first = await ask('ann', 'GET', `${path}?limit=3`)
  expect(contentsOf(first)).toEqual(['m5', 'm4', 'm3'])
  expect(first.body.revision).toBeUndefined()
  const second = await ask('ann', 'GET', `${path}?limit=3&cursor=${first.body.nextCursor}`)
  expect(contentsOf(second)).toEqual(['m2', 'm1'])
  expect(second.body.nextCursor).toBeNull()
  const { messageId } = second.body.items[0]
  expect((await ask('bob', 'PATCH', `${path}/${messageId}`, { content: 'm2, corrected' })).body).toMatchObject({
    ...{ position: 2, revision: 6, content: 'm2, corrected', editedAt: expect.any(String) },
  })
  await chat.notice(id, 'ann', { action: 'renamed', title: 'Storm' })
  const since = await ask('ann', 'GET', `${path}?after=3&limit=2`)
  expect(contentsOf(since)).toEqual(['m4', 'm5'])
  expect(since.body.revision).toBe(5)
  const rest = await ask('ann', 'GET', `${path}?after=3&limit=2&cursor=${since.body.nextCursor}`)
  expect(rest.body).toMatchObject({
    items: [
      { revision: 6, content: 'm2, corrected' },
      { revision: 7, kind: 'NOTICE', notice: { action: 'renamed', title: 'Storm' } },
    ],
    ...{ nextCursor: null, revision: 7 },
  })
  expect((await ask('ann', 'GET', `${path}?after=7`)).body).toEqual({ items: [], nextCursor: null, revision: 7 })
  for (const query of ['?after=-1', '?after=x', '?cursor=e30', '?after=1&cursor=e30', '?limit=0', '?before=1']) {
    expect((await ask('ann', 'GET', path + query)).status, query).toBe(422)
  }
})

test('it is edited by who sent it and deleted by owners too; the trace of what is deleted is for auditors', async () => {
  const { ask, id, path, chat } = await startTalk()
  const { id: said } = await chat.say('bob', id, 'The code is 1234', { mentions: ['eve'] })
  const one = `${path}/${said}`
  expect((await ask('ann', 'PATCH', one, { content: 'x' })).body.code).toBe('MESSAGE_NOT_YOURS')
  expect((await ask('eve', 'DELETE', one)).body.code).toBe('MESSAGE_NOT_YOURS')
  expect((await ask('bob', 'PATCH', one, { content: 'The code is known' })).body).toMatchObject({ mentions: ['eve'] })
  expect((await ask('eve', 'GET', `${one}/revisions`)).body.items).toMatchObject([
    { content: 'The code is 1234', replacedBy: 'bob', replacedByRevision: 2, mentions: ['eve'] },
  ])
  expect((await ask('root', 'GET', `${one}/revisions`)).body.items).toHaveLength(1)
  const deleted = await ask('ann', 'DELETE', one)
  expect(deleted.body).toMatchObject({ content: '', mentions: [], deletedBy: 'ann', deletedAt: expect.any(String) })
  expect((await ask('ann', 'DELETE', one)).body).toEqual(deleted.body)
  expect((await ask('bob', 'PATCH', one, { content: 'x' })).body.code).toBe('MESSAGE_DELETED')
  for (const who of ['ann', 'bob', 'eve']) {
    expect(await ask(who, 'GET', `${one}/revisions`), who).toMatchObject({
      status: 403,
      body: { code: 'MESSAGE_TRACE_AUDITORS' },
    })
  }
  const { items } = (await ask('root', 'GET', `${one}/revisions`)).body
  expect(items.map(({ content }: AnyJson) => content)).toEqual(['The code is 1234', 'The code is known'])
  // An auditor is in no conversation by that, and hears nothing of one that there is not.
  expect((await ask('root', 'GET', one)).status).toBe(404)
  expect((await ask('root', 'GET', `${path}/${NO_MESSAGE}/revisions`)).body.code).toBe('MESSAGE_UNKNOWN')
})

test('a message of another conversation does not exist in this one, whoever asks', async () => {
  const { ask, path, chat } = await startTalk()
  const other = await chat.conversation(['ann', 'dan'])
  const { id: messageId } = await chat.say('ann', other, 'Between us')
  const words = ({ status, body }: { status: number; body: AnyJson }) =>
    `${status} ${JSON.stringify(body)}`.replaceAll(/msg-[0-9a-f]{24}/g, '…')
  for (const [method, more, body] of [
    ['GET', ''],
    ['PATCH', '', { content: 'x' }],
    ['DELETE', ''],
    ['GET', '/revisions'],
    ['GET', '/receipts'],
  ] as const) {
    const answer = await ask('ann', method, `${path}/${messageId}${more}`, body)
    expect(answer, method + more).toMatchObject({ status: 404, body: { code: 'MESSAGE_UNKNOWN' } })
    expect(words(answer)).toBe(words(await ask('ann', method, `${path}/${NO_MESSAGE}${more}`, body)))
  }
  const elsewhere = await ask('root', 'GET', `${path}/${messageId}/revisions`)
  expect(elsewhere).toMatchObject({ status: 404, body: { code: 'MESSAGE_UNKNOWN' } })
})

test('who has read it is told by each for themselves, and shown to all who are in it', async () => {
  const { ask, id, path, chat } = await startTalk()
  await chat.say('ann', id, 'One')
  const { id: messageId } = await chat.say('ann', id, 'Two')
  await chat.join(id, 'dan')
  const read = (who: string, position: number, more = {}) =>
    ask(who, 'POST', `/conversations/${id}/read`, { position, ...more })
  const receipts = async (query = '') => (await ask('ann', 'GET', `${path}/${messageId}/receipts${query}`)).body
  const status = async () => (await ask('ann', 'GET', `${path}/${messageId}`)).body.status
  expect(await status()).toBe('PENDING')
  expect(await read('bob', 2)).toMatchObject({ status: 200, body: { userId: 'bob', readPosition: 2 } })
  expect((await read('bob', 1)).body).toMatchObject({ readPosition: 2, deliveredPosition: 2 })
  expect((await receipts()).items).toEqual([
    { userId: 'bob', status: 'READ' },
    { userId: 'eve', status: 'SENT' },
  ])
  expect(pointersOf(await read('eve', 2, { userId: 'bob' }))).toEqual(['body/userId'])
  expect((await ask('eve', 'GET', `/conversations/${id}`)).body).toMatchObject({ readPosition: 0, unreadCount: 2 })
  await read('eve', 2)
  expect(await status()).toBe('READ')
  expect((await ask('eve', 'GET', `/conversations/${id}`)).body.unreadCount).toBe(0)
  const page = await receipts('?limit=2')
  expect(page.items).toEqual([{ userId: 'bob', status: 'READ' }])
  expect((await receipts(`?limit=2&cursor=${page.nextCursor}`)).items).toEqual([{ userId: 'eve', status: 'READ' }])
  for (const position of [-1, 1.5, '2', 2 ** 53, null]) {
    expect((await read('bob', position as number)).status, String(position)).toBe(422)
  }
})

test('search finds what one may read, and nothing else', async () => {
  const { ask, id, chat, grant, core } = await startTalk()
  await core.registry.sites.create({ id: 1, name: 'North' })
  const other = await chat.conversation(['ann', 'dan'])
  await chat.say('ann', id, 'Feeder 4 trips at 100 %')
  await chat.say('dan', other, 'feeder 4 is theirs')
  const { conversationId } = (await ask('dan', 'POST', '/conversations', { kind: 'site', siteId: 1 })).body
  await chat.say('dan', conversationId, 'FEEDER 4 of the site')
  const find = (who: string, query: string) => ask(who, 'GET', `/messages?${query}`)
  expect(contentsOf(await find('ann', 'search=FEEDER'))).toEqual(['feeder 4 is theirs', 'Feeder 4 trips at 100 %'])
  expect(contentsOf(await find('bob', 'search=feeder'))).toEqual(['Feeder 4 trips at 100 %'])
  expect(contentsOf(await find('dan', 'search=feeder'))).toEqual(['FEEDER 4 of the site', 'feeder 4 is theirs'])
  await grant('dan', viewer(2))
  expect(contentsOf(await find('dan', 'search=feeder'))).toEqual(['feeder 4 is theirs'])
  expect(contentsOf(await find('ann', `search=feeder&conversationId=${id}`))).toEqual(['Feeder 4 trips at 100 %'])
  expect(contentsOf(await find('bob', 'search=100%20%25'))).toHaveLength(1)
  expect(contentsOf(await find('bob', 'search=1%25%25'))).toEqual([])
  const page = await find('ann', 'search=feeder&limit=1')
  expect(contentsOf(await find('ann', `search=feeder&limit=1&cursor=${page.body.nextCursor}`))).toHaveLength(1)
  for (const query of ['', 'search=', 'search=%20', `search=${'x'.repeat(201)}`]) {
    expect(pointersOf(await find('ann', query)), query).toEqual(['query/search'])
  }
  expect((await find('bob', `search=feeder&conversationId=${other}`)).status).toBe(404)
})
