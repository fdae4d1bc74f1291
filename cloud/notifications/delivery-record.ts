/** A record of the topic `notifications`, ours or another program's, as what is posted of it. */

import { readInstant } from '../../shared/instant.ts'
import type { ConsumedRecord } from '../bus/bus.ts'
import type { Unusable } from '../bus/record-consumer.ts'

/** Goes into a header. */
const ID_PATTERN = /^[\x21-\x7e]{1,200}$/
/** Names what is posted, for receivers that get events of several kinds. */
const EVENT_TYPE = 'notification.created'

export interface Delivery {
  readonly id: string
  /** It came within the quiet hours of its user. */
  readonly quiet: boolean
  /** An operator replayed it. */
  readonly replayed: boolean
  /** When the notification was made, Unix milliseconds. */
  readonly createdAtMs: number
  /** `{"type","timestamp","data"}`, the shape that Standard Webhooks asks for; `data` is the value of the record as it is. */
  readonly body: string
}

export function readDelivery({ value, headers, timestampMs }: ConsumedRecord): Delivery | Unusable {
  const text = value.toString()
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return unusable('the value is no JSON')
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return unusable('the value is no object')
  const { id, quiet, createdAt } = parsed as Readonly<Record<string, unknown>>
  if (typeof id !== 'string' || !ID_PATTERN.test(id)) return unusable('id is no text of 1 to 200 visible characters')
  const createdAtMs = (typeof createdAt === 'string' ? readInstant(createdAt) : null) ?? timestampMs
  const timestamp = new Date(createdAtMs).toISOString()
  return {
    id,
    quiet: quiet === true,
    replayed: headers.replayOf !== undefined,
    createdAtMs,
    body: `{"type":"${EVENT_TYPE}","timestamp":"${timestamp}","data":${text}}`,
  }
}

function unusable(message: string): Unusable {
  return { unusable: 'RECORD_UNUSABLE', message }
}
