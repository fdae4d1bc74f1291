/** Errors that both implementations of the bus raise. */

import { BusbarError } from '../../shared/errors.ts'

export function topicMissing(topic: string): BusbarError {
  return new BusbarError(`topic ${topic} does not exist`, {
    code: 'TOPIC_MISSING',
    retryable: true,
    hint: 'Create the topics: busbar-cloud topics create.',
  })
}

export function busStopped(): BusbarError {
  return new BusbarError('the bus is stopping', {
    code: 'BUS_STOPPED',
    retryable: true,
    hint: 'Publish again after the restart; what was not confirmed may be missing.',
  })
}

export function publishTimeout(topic: string, failure: string): BusbarError {
  return new BusbarError(`records for ${topic} were not confirmed in time: ${failure}`, {
    code: 'PUBLISH_TIMEOUT',
    retryable: true,
    hint: 'Check the brokers; the records are published again by whoever holds them.',
  })
}
