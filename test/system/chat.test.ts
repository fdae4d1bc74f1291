/** Conversations on one core with its embedded bus and SQLite, by real WebSockets, also through the death of the core. */

import { rm } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ChatPerson } from '../support/chat-person.ts'
import { type CloudProcess, startCloud } from '../support/cloud-process.ts'
import { type AnyJson, getJson, sendJson } from '../support/json-request.ts'
import { until } from '../support/until.ts'

const CONFIG = { chat: { messagesPerMinute: 100_000, messagesBurst: 100_000 } }
const LONG = { timeoutMs: 30_000, pollMs: 20 }
const ORDER = ['SENT', 'DELIVERED', 'READ']

describe('conversations on one core', () => {
  let core: CloudProcess
  const people: ChatPerson[] = []

  const person = async (userId: string): Promise<ChatPerson> => {
    const joined = new ChatPerson(userId)
    people.push(joined)
    await joined.connect(core.apiUrl)
    return joined
  }
  const begin = async (userId: string, body: AnyJson): Promise<string> => {
    const answer = await sendJson(`${core.apiUrl}/api/v1/conversations`, 'POST', { userId, ...body })
    expect(answer).toMatchObject({ status: 201 })
    return answer.body.conversationId
  }

  beforeAll(async () => {
    core = await startCloud({ config: CONFIG })
  }, 60_000)
  afterAll(async () => {
    for (const each of people) each.drop()
    if (core?.running) await core.kill('SIGKILL')
    await rm(core.dir, { recursive: true, force: true })
  })

  it('bring what one says to the other, and back that it came and was read', async () => {
    const [anna, ben] = [await person('anna'), await person('ben')]
    const conversationId = await begin('anna', { kind: 'direct', with: 'ben' })
    const answer = await anna.say(conversationId, 'Feeder 3 is <b>open</b>')
    const got = await until(() => ben.messages.find(({ messageId }) => messageId === answer.messageId), LONG)
    // Markup is text like any other.
    expect(got.content).toBe('Feeder 3 is <b>open</b>')
    await until(() => anna.toldOf(answer.messageId).includes('DELIVERED'), LONG)
    await ben.read(conversationId, got.position)
    await until(() => anna.toldOf(answer.messageId).includes('READ'), LONG)
    expect(anna.toldOf(answer.messageId).map((status) => ORDER.indexOf(status))).toEqual([0, 1, 2])
  })

  it('show a resend once, and answer it as the first time', async () => {
    const [cora, dave] = [await person('cora'), await person('dave')]
    const conversationId = await begin('cora', { kind: 'direct', with: 'dave' })
    const first = await cora.say(conversationId, 'close breaker 12', 'switching-1')
    const again = await cora.say(conversationId, 'close breaker 12', 'switching-1')
    expect(again).toMatchObject({ messageId: first.messageId, position: first.position })
    await cora.say(conversationId, 'done')
    await until(() => dave.heard(conversationId).includes('done'), LONG)
    expect(dave.heard(conversationId)).toEqual(['close breaker 12', 'done'])
  })

  it('lose nothing and show nothing twice when the core is killed, to those who are back and to those who come late', async () => {
    const [emil, fred, gwen] = [await person('emil'), await person('fred'), await person('gwen')]
    const conversationId = await begin('emil', { kind: 'group', title: 'Night shift', userIds: ['fred', 'gwen'] })
    await emil.say(conversationId, 'before')
    await until(() => [fred, gwen].every((each) => each.heard(conversationId).length === 1), LONG)
    gwen.drop()
    const total = 200
    const answers: Promise<AnyJson>[] = []
    for (let i = 0; i < total; i++) {
      answers.push((i % 2 === 0 ? emil : fred).say(conversationId, `order ${i}`))
      if (i === total / 2) {
        await core.kill('SIGKILL')
        await core.restart()
        await emil.connect(core.apiUrl)
        await fred.connect(core.apiUrl)
      }
    }
    const given = await Promise.all(answers)
    await gwen.connect(core.apiUrl)
    const wanted = given.sort((a, b) => a.position - b.position).map(({ messageId }) => messageId)
    for (const each of [emil, fred, gwen]) {
      const seen = (): string[] =>
        each.messages.filter((m) => m.conversationId === conversationId && m.kind === 'MESSAGE').map((m) => m.messageId)
      await until(() => seen().length >= total + 1, { ...LONG, what: `${each.userId} has all` })
      expect(seen().slice(1)).toEqual(wanted)
    }
    const last = given.at(-1)?.position as number
    for (const each of [emil, fred, gwen]) await each.read(conversationId, last)
    await until(async () => {
      const { body } = await getJson(
        `${core.apiUrl}/api/v1/conversations/${conversationId}/messages?userId=emil&limit=500`,
      )
      const own = body.items.filter((each: AnyJson) => each.senderId === 'emil' && each.kind === 'MESSAGE')
      return own.length === total / 2 + 1 && own.every(({ status }: AnyJson) => status === 'READ')
    }, LONG)
  }, 120_000)
})
