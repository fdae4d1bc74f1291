/** Whom somebody finds, and may talk to. */

import { expect, it } from 'vitest'
import { MemberDirectory } from '../../../cloud/chat/chat.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { type Grant, People } from '../../../cloud/identity/identity.ts'
import { addPeople, conversationCore, disable, viewer } from '../../support/conversation-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const NOW_MS = Date.UTC(2026, 0, 1)
const operator: Grant[] = [{ role: 'operator', siteId: 2 }]

async function peopleOf(database: DatabaseHandle): Promise<People> {
  await addPeople(database, { ann: viewer(1), bob: viewer(1, 2), dan: operator, eve: [], root: viewer('all') })
  await addPeople(database, { 'gus_1%': viewer(1) }, { name: 'Gustav Öst' })
  await addPeople(database, { gone: viewer(1) })
  await disable(database, 'gone')
  return new People({ database, clock: new ManualClock(NOW_MS) })
}

async function addKey({ kysely }: DatabaseHandle, id: string, changes: Record<string, unknown> = {}): Promise<string> {
  const key = { id, name: `key ${id[0]}`, secret_hash: id, scopes: '[]', created_by: 'ann', created_at_ms: 1 }
  await kysely
    .insertInto('api_keys')
    .values({ ...key, ...changes })
    .execute()
  await kysely.insertInto('api_key_grants').values({ key_id: id, role: 'viewer', site_id: 0 }).execute()
  return `api-key:${id}`
}

await describeOnEveryDatabase('people', (databases) => {
  it('find whoever is active and shares a site with them, by a part of id or name, page by page', async () => {
    const people = await peopleOf(await databases.open())
    const found = async (sees: 'all' | number[], search?: string) => {
      const asker = { userId: 'ann', sees: sees === 'all' ? sees : new Set(sees) }
      return (await people.list({ search }, asker)).items.map(({ id }) => id).join(' ')
    }
    expect(await found([1])).toBe('ann bob gus_1% root')
    expect(await found([2])).toBe('bob dan root')
    expect(await found([1, 2])).toBe('ann bob dan gus_1% root')
    expect(await found([])).toBe('root')
    expect(await found('all')).toBe('ann bob dan eve gus_1% root')
    expect(await found('all', 'AN')).toBe('ann dan')
    expect(await found([1], 'dan')).toBe('')
    expect(await found('all', ' gustav ')).toBe('gus_1%')
    expect(await found('all', '_1%')).toBe('gus_1%')
    expect(await found('all', '%')).toBe('gus_1%')
    expect(await found('all', '!')).toBe('')
    const asker = { userId: 'ann', sees: new Set([1]) }
    const first = await people.list({ limit: 3 }, asker)
    expect(first.items.at(-1)).toEqual({ id: 'gus_1%', name: 'Gustav Öst' })
    const second = await people.list({ limit: 3, cursor: first.next ?? '' }, asker)
    expect(second).toEqual({ items: [{ id: 'root', name: null }], next: null })
    for (const [field, request] of [
      ['search', { search: 'x\0' }],
      ['search', { search: 'x'.repeat(101) }],
      ['cursor', { cursor: 'x' }],
      ['limit', { limit: 501 }],
    ] as const) {
      await expect(people.list(request, asker)).rejects.toMatchObject({ fields: [{ field }] })
    }
  })

  it('may talk to those, and to programs with a good key that are at one of these sites', async () => {
    const database = await databases.open()
    const people = await peopleOf(database)
    const good = await addKey(database, 'a'.repeat(16))
    const later = await addKey(database, 'b'.repeat(16), { expires_at_ms: NOW_MS + 1 })
    const over = await addKey(database, 'c'.repeat(16), { expires_at_ms: NOW_MS })
    const revoked = await addKey(database, 'd'.repeat(16), { revoked_at_ms: 1 })
    const orphan = await addKey(database, 'e'.repeat(16), { created_by: 'gone' })
    const keys = [good, later, over, revoked, orphan]
    const ids = ['ann', 'dan', 'eve', 'gone', 'nobody', '', ...keys, 'api-key:x', `api-key:${'f'.repeat(16)}`]
    const known = async (sees: 'all' | number[]) => {
      return [...(await people.known(ids, { userId: 'x', sees: sees === 'all' ? sees : new Set(sees) }))].toSorted()
    }
    expect(await known([1])).toEqual(['ann', good, later])
    // A key is worth no more than who made it.
    expect(await known([2])).toEqual(['dan'])
    expect(await known('all')).toEqual(['ann', good, later, 'dan', 'eve'])
    const gone = await people.gone(ids)
    expect(ids.filter((id) => !gone.has(id))).toEqual(['ann', 'dan', 'eve', good, later])
    expect(await people.names(['gus_1%', 'ann', 'nobody', over])).toEqual(
      new Map([
        ['gus_1%', 'Gustav Öst'],
        [over, 'key c'],
      ]),
    )
  })

  it('are those who are in some conversation where nobody logs in', async () => {
    const core = conversationCore(await databases.open(), { nobodyLogsIn: true })
    const ann = await core.asker('ann')
    for (const userId of ['bob', 'Bert', 'cleo']) await core.conversations.begin(ann, { kind: 'direct', userId })
    const people = new MemberDirectory(core)
    const found = async (search?: string) => (await people.list({ search })).items.map(({ id }) => id).toSorted()
    expect(await found()).toEqual(['Bert', 'ann', 'bob', 'cleo'])
    expect(await found('b')).toEqual(['Bert', 'bob'])
    expect([...(await people.known(['anybody', 'not a user', 'api-key:1']))]).toEqual(['anybody'])
  })
})
