/** One request to the brokers on the way of records, and what its answer means. */

import { BrokenCircuitError } from 'cockatiel'
import { BusbarError } from '../../../shared/errors.ts'
import { brokerErrorCode, describeFailure, outcomeOf, type ProduceOutcome } from './produce-error.ts'
import type { ProducerHealth } from './producer-health.ts'

/** What a broker that leads a partition no more answers, and what we say when nobody leads it. */
export const LEADER_NOT_AVAILABLE = 5

export interface Attempt {
  readonly outcome: ProduceOutcome
  readonly failure: string
  /** Of Kafka; 0 when nobody answered. */
  readonly errorCode: number
}

/** @param ask resolves with Kafka's error code. Never rejects. */
export async function attempt(answers: ProducerHealth, ask: () => Promise<number>): Promise<Attempt> {
  try {
    const errorCode = await answers.throughBreaker(ask)
    answers.answered()
    return { outcome: outcomeOf(errorCode), failure: `broker answered with error ${errorCode}`, errorCode }
  } catch (error) {
    if (error instanceof BusbarError && error.code === 'TOPIC_MISSING') {
      return { outcome: 'missing', failure: error.message, errorCode: 0 }
    }
    const errorCode = brokerErrorCode(error)
    if (errorCode !== null) return { outcome: outcomeOf(errorCode), failure: describeFailure(error), errorCode }
    if (error instanceof BrokenCircuitError) {
      return { outcome: 'away', failure: answers.lastFailure ?? 'away', errorCode: 0 }
    }
    return { outcome: 'away', failure: describeFailure(error), errorCode: 0 }
  }
}
