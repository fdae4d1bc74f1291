/**
 * Conversations on a real Kafka and a real PostgreSQL, with two cores and people at both: the flows of the contract step by
 * step, a core that dies between database, Kafka and socket, and Kafka away.
 */

import { rm } from 'node:fs/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ChatPerson } from '../support/chat-person.ts'
import { type CloudProcess, startCloud } from '../support/cloud-process.ts'
import { type AnyJson, getJson, sendJson } from '../support/json-request.ts'
import { describeKafka, startKafka, type TestKafka } from '../support/kafka.ts'
import { readTopic } from '../support/kcat.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { describeWith } from '../support/real-parts.ts'
import { until } from '../support/until.ts'

const CONFIG = {
  kafka: { sessionTimeoutMs: 6_000 },
  chat: { messagesPerMinute: 100_000, messagesBurst: 100_000, offlineAfterMs: 3_000, noticeAfterMs: 10_000 },
}
const LONG = { timeoutMs: 60_000, pollMs: 50 }

/** As the answers ask for it: what cannot be taken at present is sent again. */
async function sayUntilTaken(person: ChatPerson, conversationId: string, content: string): Promise<AnyJson> {
  for (;;) {
    const answer = await person.say(conversationId, content)
    if (answer.retryAfterMs === undefined) return answer
    await new Promise((resolve) => setTimeout(resolve, answer.retryAfterMs))
  }
}

describeKafka('conversations', () => {
  describeWith(['kcat'], 'between two cores', () => {
    let kafka: TestKafka
    let postgres: TestPostgres
    let databaseUrl: string
    let cores: CloudProcess[]
    const people: ChatPerson[] = []

    const start = (): Promise<CloudProcess> => startCloud({ kafkaBrokers: kafka.brokers, databaseUrl, config: CONFIG })
    const urlOf = (core: number): string => (cores[core] as CloudProcess).apiUrl
    const person = async (userId: string, core: number): Promise<ChatPerson> => {
      const joined = new ChatPerson(userId)
      people.push(joined)
      await joined.connect(urlOf(core))
      return joined
    }
    const begin = async (userId: string, body: AnyJson): Promise<string> => {
      const answer = await sendJson(`${urlOf(0)}/api/v1/conversations`, 'POST', { userId, ...body })
      expect(answer).toMatchObject({ status: 201 })
      return answer.body.conversationId
    }
    const valuesOf = async (topic: string, conversationId: string): Promise<AnyJson[]> => {
      const records = await readTopic(kafka.brokers, topic)
      return records
        .map(({ key, payload }) => ({ key, ...(JSON.parse(payload) as AnyJson) }))
        .filter((value) => value.conversationId === conversationId)
    }

    beforeAll(async () => {
      kafka = await startKafka()
      postgres = (await startPostgres()) as TestPostgres
      databaseUrl = await postgres.freshUrl()
      cores = [await start(), await start()]
    }, 180_000)
    afterAll(async () => {
      for (const each of people) each.drop()
      for (const core of cores ?? []) {
        if (core.running) await core.kill('SIGKILL')
        await rm(core.dir, { recursive: true, force: true })
      }
      await kafka?.stop()
      await postgres?.stop()
    }, 60_000)

    it('carry what is said to the other core, and back that it was delivered and read', async () => {
      const [anna, ben] = [await person('anna', 0), await person('ben', 1)]
      const conversationId = await begin('anna', { kind: 'direct', with: 'ben' })
      const answer = await anna.say(conversationId, 'Feeder 3 is open')
      expect(answer).toMatchObject({ type: 'chat.sent', conversationId, status: 'PENDING' })
      const got = await until(() => ben.messages.find(({ messageId }) => messageId === answer.messageId), LONG)
      expect(got).toMatchObject({ content: 'Feeder 3 is open', senderId: 'anna', change: 'created' })
      await until(() => anna.toldOf(answer.messageId).includes('DELIVERED'), LONG)
      await ben.read(conversationId, got.position)
      await until(() => anna.toldOf(answer.messageId).includes('READ'), LONG)
      const order = ['SENT', 'DELIVERED', 'READ']
      expect(anna.toldOf(answer.messageId).map((status) => order.indexOf(status))).toEqual([0, 1, 2])
      const { body } = await getJson(`${urlOf(1)}/api/v1/conversations/${conversationId}/messages?userId=anna`)
      expect(body.items[0]).toMatchObject({ messageId: answer.messageId, status: 'READ' })

      const [said] = (await valuesOf('chat-messages', conversationId)).filter(({ kind }) => kind === 'MESSAGE')
      expect(said).toMatchObject({
        key: conversationId,
        content: 'Feeder 3 is open',
        recipientId: 'ben',
        conversationId,
        messageId: answer.messageId,
        senderId: 'anna',
      })
      const statuses = await valuesOf('message-status-events', conversationId)
      expect(statuses.map(({ key, status, userId, messageId }) => ({ key, status, userId, messageId }))).toEqual(
        expect.arrayContaining([
          { key: 'anna', status: 'SENT', userId: 'anna', messageId: answer.messageId },
          { key: 'ben', status: 'DELIVERED', userId: 'ben', messageId: answer.messageId },
          { key: 'ben', status: 'READ', userId: 'ben', messageId: answer.messageId },
        ]),
      )
    }, 120_000)

    it('have one order for three people, and show what one device read on the other', async () => {
      const [cleo, dan] = [await person('cleo', 0), await person('dan', 1)]
      const [emma, emmasTablet] = [await person('emma', 0), await person('emma', 1)]
      const conversationId = await begin('cleo', { kind: 'group', title: 'Storm', userIds: ['dan', 'emma'] })
      const speakers = [cleo, dan, emma]
      const said = Array.from({ length: 20 }, (_, i) =>
        (speakers[i % 3] as ChatPerson).say(conversationId, `line ${i}`),
      )
      await Promise.all(said)
      const everybody = [cleo, dan, emma, emmasTablet]
      await until(() => everybody.every((each) => each.heard(conversationId).length >= 20), LONG)
      for (const each of everybody) expect(each.heard(conversationId)).toEqual(cleo.heard(conversationId))
      const last = dan.messages.at(-1)?.position as number
      await emma.read(conversationId, last)
      await until(() => emmasTablet.statuses.some((read) => read.status === 'READ' && read.userId === 'emma'), LONG)
      const { body } = await getJson(`${urlOf(1)}/api/v1/conversations/${conversationId}?userId=emma`)
      expect(body.unreadCount).toBe(0)
    }, 120_000)

    it('tell who is typing on the other core, and that they stopped when they say no more', async () => {
      const [fay, gil] = [await person('fay', 0), await person('gil', 1)]
      const conversationId = await begin('fay', { kind: 'direct', with: 'gil' })
      await fay.ask({ type: 'chat.typing', conversationId, isTyping: true })
      await until(() => gil.others.some(({ event, isTyping }) => event === 'typing' && isTyping), LONG)
      await until(() => gil.others.some(({ event, isTyping }) => event === 'typing' && !isTyping), LONG)
    }, 60_000)

    it('notify once who is away for several messages, and leave one who is there alone', async () => {
      const [hal] = [await person('hal', 0)]
      const conversationId = await begin('hal', { kind: 'direct', with: 'ida' })
      for (let i = 0; i < 5; i++) await hal.say(conversationId, `are you there? ${i}`)
      const inbox = async (userId: string): Promise<AnyJson[]> => {
        return (await getJson(`${urlOf(1)}/api/v1/users/${userId}/notifications?type=NEW_MESSAGE`)).body.items
      }
      await until(async () => (await inbox('ida')).length > 0, LONG)
      const ida = await person('ida', 1)
      const before = (await inbox('ida')).length
      expect(before).toBe(1)
      // What she has not seen she is told when she comes: the conversation is new to this device.
      await until(async () => {
        const { body } = await getJson(`${urlOf(1)}/api/v1/conversations?userId=ida`)
        return body.items[0]?.unreadCount === 5
      }, LONG)
      // That she is there is stored a moment after she came; who is told of something before that counts as away.
      await until(async () => {
        const { body } = await getJson(`${urlOf(0)}/api/v1/people?userId=hal&limit=500`)
        return body.items.some(({ userId, presence }: AnyJson) => userId === 'ida' && presence.state === 'online')
      }, LONG)
      await hal.say(conversationId, 'now you are')
      await until(() => ida.heard(conversationId).includes('now you are'), LONG)
      await until(() => hal.statuses.some(({ status, userId }) => status === 'DELIVERED' && userId === 'ida'), LONG)
      expect(await inbox('ida')).toHaveLength(before)
      const told = (await readTopic(kafka.brokers, 'notifications')).filter(({ key }) => key === 'ida')
      // A record may come twice.
      expect(new Set(told.map(({ payload }) => (JSON.parse(payload) as AnyJson).id)).size).toBe(before)
    }, 120_000)

    it('lose nothing and show nothing twice when a core dies in the middle of it', async () => {
      const [jan, kim, leo] = [await person('jan', 0), await person('kim', 0), await person('leo', 1)]
      const conversationId = await begin('jan', { kind: 'group', title: 'Switching', userIds: ['kim', 'leo'] })
      const total = 300
      const answers: Promise<AnyJson>[] = []
      for (let i = 0; i < total; i++) {
        answers.push(sayUntilTaken(i % 2 === 0 ? jan : leo, conversationId, `order ${i}`))
        if (i === total / 2) {
          // Some are in the database only, some on Kafka, some on sockets.
          await (cores[0] as CloudProcess).kill('SIGKILL')
          await cores[0]?.restart()
          await jan.connect(urlOf(1))
          await kim.connect(urlOf(0))
        }
        if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 5))
      }
      const given = await Promise.all(answers)
      expect(given.filter(({ type }) => type !== 'chat.sent')).toEqual([])
      expect(new Set(given.map(({ position }) => position)).size).toBe(total)
      const wanted = given
        .map(({ position, messageId }) => ({ position, messageId }))
        .sort((a, b) => a.position - b.position)
        .map(({ messageId }) => messageId)
      for (const each of [jan, kim, leo]) {
        const seen = (): string[] =>
          each.messages
            .filter((m) => m.conversationId === conversationId && m.kind === 'MESSAGE')
            .map((m) => m.messageId)
        await until(() => seen().length >= total, { ...LONG, what: `${each.userId} has all` })
        expect(seen()).toEqual(wanted)
      }
      const last = given.reduce((highest, { position }) => Math.max(highest, position), 0)
      for (const reader of [jan, kim, leo]) await reader.read(conversationId, last)
      await until(async () => {
        const path = `/api/v1/conversations/${conversationId}/messages?limit=500`
        const shown: AnyJson[] = []
        for (const userId of ['jan', 'leo']) {
          const { body } = await getJson(`${urlOf(1)}${path}&userId=${userId}`)
          shown.push(...body.items.filter((each: AnyJson) => each.senderId === userId && each.kind === 'MESSAGE'))
        }
        return shown.length === total && shown.every(({ status }) => status === 'READ')
      }, LONG)
    }, 240_000)

    it('take messages while Kafka is away, say that they wait, and bring them in order when it is back', async () => {
      const [mia, nia] = [await person('mia', 0), await person('nia', 1)]
      const conversationId = await begin('mia', { kind: 'direct', with: 'nia' })
      await mia.say(conversationId, 'before')
      await until(() => nia.heard(conversationId).length === 1, LONG)
      await kafka.kill()
      const during = []
      for (let i = 0; i < 30; i++) during.push(await mia.say(conversationId, `during ${i}`))
      expect(new Set(during.map(({ status }) => status))).toEqual(new Set(['PENDING']))
      await new Promise((resolve) => setTimeout(resolve, 5_000))
      const { body } = await getJson(`${urlOf(0)}/api/v1/conversations/${conversationId}/messages?userId=mia&limit=100`)
      const waiting = body.items.filter(({ content }: AnyJson) => String(content).startsWith('during'))
      expect(waiting).toHaveLength(30)
      await kafka.restart()
      const wanted = ['before', ...during.map((_, i) => `during ${i}`)]
      await until(() => nia.heard(conversationId).length >= wanted.length, { ...LONG, timeoutMs: 90_000 })
      expect(nia.heard(conversationId)).toEqual(wanted)
      const newest = during.at(-1)
      // Each status takes its own way through Kafka, so neither says that the other is there.
      for (const wantedStatus of ['SENT', 'DELIVERED']) {
        await until(
          () => mia.statuses.some(({ status, messageId }) => status === wantedStatus && messageId === newest.messageId),
          { ...LONG, timeoutMs: 90_000, what: `the newest is ${wantedStatus}` },
        )
      }
    }, 240_000)
  })
})
