import { describe, expect, it } from 'vitest'
import { CommitSchedule } from '../../../edge/spool/commit-schedule.ts'
import { ACK_DELAY_MS, PACE_BUSY_MS, PACE_BYTES, PACE_LIGHT_MS } from '../../../edge/spool/limits.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))

function schedule() {
  const clock = new ManualClock()
  let begun = 0
  const commits = new CommitSchedule(clock, () => {
    begun++
    commits.begun()
  })
  return { clock, commits, begun: () => begun }
}

describe('a commit', () => {
  it('begins at once for the first record of an idle spool', async () => {
    const { commits, begun } = schedule()
    commits.consider(1, 200)
    await turn()
    expect(begun()).toBe(1)
  })

  it('waits for as many records as were outstanding, and not for more', async () => {
    const { commits, begun } = schedule()
    commits.done(6, 4)
    commits.consider(9, 1800)
    await turn()
    expect(begun()).toBe(0)
    commits.consider(10, 2000)
    await turn()
    expect(begun()).toBe(1)
  })

  it('waits no longer than its pace when fewer come', () => {
    const { clock, commits, begun } = schedule()
    commits.done(10, 0)
    commits.consider(1, 200)
    clock.advance(PACE_LIGHT_MS)
    expect(begun()).toBe(1)
    commits.done(1000, 0)
    commits.consider(1, 200)
    clock.advance(PACE_BUSY_MS - 1)
    expect(begun()).toBe(1)
    clock.advance(1)
    expect(begun()).toBe(2)
  })

  it('does not wait once it is large', async () => {
    const { commits, begun } = schedule()
    commits.done(100_000, 0)
    commits.consider(300, PACE_BYTES)
    await turn()
    expect(begun()).toBe(1)
  })

  it('carries acknowledgements along, or goes for them alone after a while', () => {
    const { clock, commits, begun } = schedule()
    commits.considerAcks()
    clock.advance(ACK_DELAY_MS - 1)
    commits.begun()
    clock.advance(ACK_DELAY_MS)
    expect(begun()).toBe(0)
    commits.considerAcks()
    clock.advance(ACK_DELAY_MS)
    expect(begun()).toBe(1)
  })
})
