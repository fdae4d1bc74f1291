import { describe, expect, it } from 'vitest'
import { Turns } from '../../../cloud/chat/turns.ts'

describe('what one user asks for', () => {
  it('is done one after the other, whatever became of the one before, and holds up nobody else', async () => {
    const turns = new Turns()
    const done: string[] = []
    const first = Promise.withResolvers<void>()
    const slow = turns.take('ann', async () => {
      await first.promise
      done.push('first')
      throw new Error('it failed')
    })
    const next = turns.take('ann', async () => done.push('second'))
    await turns.take('bob', async () => done.push('of bob'))
    expect(done).toEqual(['of bob'])
    first.resolve()
    await expect(slow).rejects.toThrow('it failed')
    await next
    expect(done).toEqual(['of bob', 'first', 'second'])
    expect(turns.size).toBe(0)
  })

  it('waits in a bounded number', async () => {
    const turns = new Turns(2)
    const gate = Promise.withResolvers<void>()
    const waiting = [1, 2, 3].map(() => turns.take('ann', () => gate.promise))
    await expect(turns.take('ann', async () => undefined)).rejects.toMatchObject({ code: 'CHAT_BUSY', retryable: true })
    await turns.take('bob', async () => undefined)
    gate.resolve()
    await Promise.all(waiting)
    await turns.take('ann', async () => undefined)
  })
})
