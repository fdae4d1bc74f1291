/** A second person, once: whoever approves at the same time, and whatever becomes of the service that does it. */

import { expect, it } from 'vitest'
import { type Approval, Approvals, type Join, needsSecondPerson } from '../../../cloud/approvals/approvals.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const MINUTE_MS = 60_000
const makers = new Map([['api-key:k1', 'ann']])
/** Who has lost their roles. */
const gone = new Set(['zoe'])

/** What is done goes into a table of the same database, in the transaction that says so. */
function approvalsOn(database: DatabaseHandle, clock: ManualClock, refuse: () => boolean = () => false) {
  const action = async (approval: Approval, join: Join): Promise<void> => {
    await database.transaction(async (transaction) => {
      const done = { id: approval.id, name: 'done', created_at_ms: 1, updated_at_ms: 1 }
      await transaction
        .insertInto('gateways')
        .values({ ...done, connected: 0 })
        .execute()
      if (refuse()) throw new Error('the device is gone')
      await join(`cmd-${approval.id.slice(4, 12)}`, transaction)
    })
  }
  const approvals = new Approvals({
    database,
    settings: { commandTypes: ['REMOTE_DISCONNECT'], expiryMs: 10 * MINUTE_MS, keptDays: 90 },
    actions: { command: action, task: action, 'task-retry': action },
    personBehind: (id) => Promise.resolve(makers.get(id) ?? id),
    mayCommand: (id) => Promise.resolve(!gone.has(id)),
    coreId: 'core',
    clock,
    random: systemRandom,
    log: silentLogger,
  })
  const ask = (requestedBy = 'ann', siteIds: readonly number[] = [1]) => {
    return approvals.ask({ kind: 'command', commandType: 'REMOTE_DISCONNECT', request: { a: 1 }, siteIds, requestedBy })
  }
  const done = async () => (await database.kysely.selectFrom('gateways').select('id').execute()).length
  return { approvals, ask, done }
}

it('a type is dangerous in any spelling', () => {
  for (const type of ['remote_Disconnect', 'REMOTE-DISCONNECT', 'remote.disconnect', 'RemoteDisconnect']) {
    expect(needsSecondPerson(['REMOTE_DISCONNECT'], type), type).toBe(true)
  }
  expect(needsSecondPerson(['REMOTE_DISCONNECT'], 'REMOTE_RECONNECT')).toBe(false)
  expect(needsSecondPerson([], 'REMOTE_DISCONNECT')).toBe(false)
})

await describeOnEveryDatabase('approvals', ({ open }) => {
  it('are done by another person, and say who asked and who approved', async () => {
    const { approvals, ask, done } = approvalsOn(await open(), new ManualClock())
    const { id } = await ask()
    expect(await approvals.get(id)).toMatchObject({ state: 'PENDING', siteIds: [1], request: { a: 1 }, resultId: null })
    const approved = await approvals.approve(id, 'ben', 'seen the site')
    expect(approved).toMatchObject({ state: 'APPROVED', requestedBy: 'ann', decidedBy: 'ben', note: 'seen the site' })
    expect(approved?.resultId).toBe(`cmd-${id.slice(4, 12)}`)
    expect(await done()).toBe(1)
  })

  it('are not given by whoever asked, nor by who made the key that asked, nor by the key of who asked', async () => {
    const { approvals, ask, done } = approvalsOn(await open(), new ManualClock())
    const [own, ofKey] = [await ask('ann'), await ask('api-key:k1')]
    for (const [approval, by] of [
      [own, 'ann'],
      [own, 'api-key:k1'],
      [ofKey, 'ann'],
    ] as const) {
      await expect(approvals.approve(approval.id, by, null)).rejects.toMatchObject({ code: 'APPROVAL_OWN' })
    }
    expect(await done()).toBe(0)
  })

  it('are not given for somebody who could not ask any more', async () => {
    const { approvals, ask, done } = approvalsOn(await open(), new ManualClock())
    const { id } = await ask('zoe')
    await expect(approvals.approve(id, 'ben', null)).rejects.toMatchObject({ code: 'APPROVAL_ASKER_GONE' })
    expect(await done()).toBe(0)
  })

  it('are done once when two approve at the same time on two cores', async () => {
    const database = await open()
    const clock = new ManualClock()
    const [a, b] = [approvalsOn(database, clock), approvalsOn(database, clock)]
    const { id } = await a.ask()
    const outcomes = await Promise.allSettled([
      a.approvals.approve(id, 'ben', null),
      b.approvals.approve(id, 'cyd', null),
    ])
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    expect(await a.done()).toBe(1)
  })

  it('wait on when what was asked for cannot be done', async () => {
    let gone = true
    const { approvals, ask, done } = approvalsOn(await open(), new ManualClock(), () => gone)
    const { id } = await ask()
    await expect(approvals.approve(id, 'ben', null)).rejects.toThrow('the device is gone')
    expect(await done()).toBe(0)
    expect(await approvals.get(id)).toMatchObject({ state: 'PENDING' })
    gone = false
    expect(await approvals.approve(id, 'ben', null)).toMatchObject({ state: 'APPROVED' })
  })

  it('end: by rejection, by being taken back, by time; and what ended stays ended', async () => {
    const clock = new ManualClock()
    const { approvals, ask, done } = approvalsOn(await open(), clock)
    const [rejected, withdrawn, late] = [await ask(), await ask(), await ask()]
    expect(await approvals.reject(rejected.id, 'ben', 'wrong house')).toMatchObject({
      state: 'REJECTED',
      note: 'wrong house',
    })
    expect(await approvals.withdraw(withdrawn.id, 'ann', null)).toMatchObject({ state: 'WITHDRAWN' })
    for (const { id } of [rejected, withdrawn]) {
      await expect(approvals.approve(id, 'ben', null)).rejects.toMatchObject({ code: 'APPROVAL_DECIDED' })
    }
    clock.advance(10 * MINUTE_MS)
    expect(await approvals.get(late.id)).toMatchObject({ state: 'EXPIRED' })
    await expect(approvals.approve(late.id, 'ben', null)).rejects.toMatchObject({ code: 'APPROVAL_EXPIRED' })
    expect(await done()).toBe(0)
    expect(await approvals.approve('apr-0000000000000000', 'ben', null)).toBeNull()
  })

  it('are listed for those who see every site of them, and for whoever asked', async () => {
    const { approvals, ask } = approvalsOn(await open(), new ManualClock())
    const [one, both, none] = [await ask('ann', [1]), await ask('ann', [2, 1]), await ask('eve', [])]
    const listed = async (scope: 'all' | ReadonlySet<number>, askedBy = 'cyd') => {
      const { items } = await approvals.list({}, { scope, askedBy })
      return new Set(items.map(({ id }) => id))
    }
    expect(await listed('all')).toEqual(new Set([one.id, both.id, none.id]))
    expect(await listed(new Set([1]))).toEqual(new Set([one.id]))
    expect(await listed(new Set([1, 2]))).toEqual(new Set([one.id, both.id]))
    expect(await listed(new Set([3]))).toEqual(new Set())
    expect(await listed(new Set(), 'eve')).toEqual(new Set([none.id]))
  })
})
