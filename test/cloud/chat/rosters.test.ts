import { expect, it } from 'vitest'
import { Rosters } from '../../../cloud/chat/rosters.ts'
import { chatCore } from '../../support/chat-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'

await describeOnEveryDatabase('rosters', (databases) => {
  it('remember for a while who is in a conversation, unless they are told that it changed', async () => {
    const core = chatCore(await databases.open())
    const clock = new ManualClock()
    const rosters = new Rosters({ database: core.database, membership: core.membership, clock })
    const conversationId = await core.conversation(['ann', 'bob'])
    const both = await Promise.all([rosters.of(conversationId), rosters.of(conversationId)])
    expect(both).toEqual([
      ['ann', 'bob'],
      ['ann', 'bob'],
    ])
    expect(both[0]).toBe(both[1])
    await core.join(conversationId, 'cid')
    expect(await rosters.of(conversationId)).toEqual(['ann', 'bob'])
    rosters.forget(conversationId)
    expect(await rosters.of(conversationId)).toEqual(['ann', 'bob', 'cid'])
    await core.leave(conversationId, 'ann')
    clock.advance(30_000)
    expect(await rosters.of(conversationId)).toEqual(['bob', 'cid'])
  })

  it('have nobody who may not see what it is about, and know no conversation that there is not', async () => {
    const core = chatCore(await databases.open())
    const rosters = new Rosters({ database: core.database, membership: core.membership, clock: new ManualClock() })
    await core.addUser('ann', [{ role: 'viewer', siteId: 7 }])
    await core.addUser('bob', [{ role: 'viewer', siteId: 8 }])
    const conversationId = await core.conversation(['ann', 'bob'], { kind: 'site', id: '7' })
    expect(await rosters.of(conversationId)).toEqual(['ann'])
    expect(await rosters.of('conv-000000000000000000000000')).toBeNull()
  })
})
