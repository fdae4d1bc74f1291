/** A log in memory that commits a group per turn of the event loop, or when told to, or refuses. */

import type { CommitListener, DurableLog } from '../../../../edge/broker/durable-log.ts'
import { BusbarError } from '../../../../shared/errors.ts'
import type { Lane } from '../../../../shared/lanes.ts'

export interface LoggedRecord {
  readonly lane: Lane
  readonly topic: string
  readonly payload: string
}

export class MemoryLog implements DurableLog {
  /** Everything committed, in order. */
  readonly records: LoggedRecord[] = []
  accepting = true
  /** While true, nothing is committed. */
  held = false
  /** While true, every commit fails. */
  failing = false
  private waiting: { record: LoggedRecord; listener: CommitListener; token: number }[] = []
  private scheduled = false
  private readonly settled: (() => void)[] = []
  private readonly acceptingAgain: (() => void)[] = []

  get waitingCount(): number {
    return this.waiting.length
  }

  append(lane: Lane, topic: string, payload: Uint8Array, listener: CommitListener, token: number): void {
    this.waiting.push({ record: { lane, topic, payload: Buffer.from(payload).toString() }, listener, token })
    this.schedule()
  }

  onSettled(fn: () => void): void {
    this.settled.push(fn)
  }

  onAccepting(fn: () => void): void {
    this.acceptingAgain.push(fn)
  }

  release(): void {
    this.held = false
    this.schedule()
  }

  accept(accepting: boolean): void {
    this.accepting = accepting
    if (accepting) for (const fn of this.acceptingAgain) fn()
  }

  of(topic: string): string[] {
    return this.records.filter((record) => record.topic === topic).map(({ payload }) => payload)
  }

  private schedule(): void {
    if (this.scheduled || this.held) return
    this.scheduled = true
    setImmediate(() => this.commit())
  }

  private commit(): void {
    this.scheduled = false
    if (this.held) return
    const group = this.waiting
    this.waiting = []
    const error = this.failing ? new BusbarError('the disk refuses', { code: 'SPOOL_WRITE_FAILED' }) : null
    for (const { record, listener, token } of group) {
      if (error === null) this.records.push(record)
      listener.committed(token, error)
    }
    for (const fn of this.settled) fn()
  }
}
