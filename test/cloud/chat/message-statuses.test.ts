/** How far messages have come, whatever happens in which order: it never goes back, and ends the same for everybody. */

import { expect, it, onTestFinished } from 'vitest'
import { MESSAGE_STATUS_EVENTS } from '../../../cloud/bus/catalogue.ts'
import { Receipts, type StatusRecord } from '../../../cloud/chat/chat.ts'
import { MESSAGE_STATUSES } from '../../../cloud/chat/message.ts'
import { type Clock, systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { CHAT_SETTINGS, chatCore } from '../../support/chat-core.ts'
import { type DatabaseUnderTest, describeOnEveryDatabase } from '../../support/databases.ts'
import { seededRandom } from '../../support/seeded-random.ts'

const PEOPLE = ['ann', 'bob', 'cid', 'dan']
const STEPS = 120
/** Marks do not wait for company. */
const hasty: Clock = { ...systemClock, after: (_, fn) => systemClock.after(0, fn) }

await describeOnEveryDatabase('statuses of messages', (under: DatabaseUnderTest) => {
  it('never go back, whoever reads, leaves and comes again, and records say each step once', async () => {
    const url = await under.freshUrl()
    const cores = [chatCore(await under.open({ url })), chatCore(await under.open({ url }))] as const
    const [core] = cores
    const receipts = cores.map(({ database, outbox, membership }) => {
      const common = { clock: hasty, random: systemRandom, log: silentLogger }
      const each = new Receipts({ database, outbox, membership, settings: CHAT_SETTINGS, ...common })
      onTestFinished(() => each.stop(AbortSignal.timeout(2_000)))
      return each
    })
    const random = seededRandom(20_261_121)
    const below = (count: number) => Math.floor(random.fraction() * count)
    const id = await core.conversation(PEOPLE)
    const present = new Set(PEOPLE)
    const shown = new Map<string, number>()
    const someone = () => [...present][below(present.size)] as string
    for (let step = 0; step < STEPS; step++) {
      const [which, userId] = [below(2), someone()]
      const last = (await core.messages.marksOf(userId)).get(id) ?? 0
      // What is delivered is reported late, out of order and more than once.
      const acts = [
        () => cores[which]?.say(userId, id, `m${step}`),
        () => receipts[which]?.delivered([{ userId, conversationId: id, position: below(last + 2) }]),
        () => receipts[which]?.delivered([{ userId, conversationId: id, position: last }]),
        () => receipts[which]?.read(userId, id, below(last + 2)),
        async () => {
          if (present.size === 1) return
          present.delete(userId)
          await core.leave(id, userId)
        },
        async () => {
          const gone = PEOPLE.find((each) => !present.has(each))
          if (gone === undefined) return
          present.add(gone)
          await core.join(id, gone)
        },
      ]
      await acts[below(acts.length)]?.()
      for (const asker of present) {
        const { items } = await core.messages.history(asker, id, { limit: 200 })
        for (const { message, status } of items) {
          if (status === null) continue
          const rank = MESSAGE_STATUSES.indexOf(status)
          expect(rank, `${message.content} at step ${step}`).toBeGreaterThanOrEqual(shown.get(message.id) ?? 0)
          shown.set(message.id, rank)
        }
      }
    }
    for (const userId of present) await receipts[0]?.read(userId, id, Number.MAX_SAFE_INTEGER)
    const { items } = await core.messages.history(someone(), id, { limit: 200 })
    expect(items.filter(({ status }) => status !== null && status !== 'READ')).toEqual([])
    const told = new Map<string, number>()
    for (const { status, userId, position } of await core.appended<StatusRecord>(MESSAGE_STATUS_EVENTS)) {
      const key = `${userId} ${status}`
      expect(position).toBeGreaterThan(told.get(key) ?? 0)
      told.set(key, position)
    }
    expect(told.size).toBeGreaterThan(4)
  })
})
