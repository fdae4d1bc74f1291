/** What the edge knows of a device's status, and when a change is worth a record. Pure. */

export const DEVICE_STATUSES = ['ONLINE', 'OFFLINE', 'MAINTENANCE', 'ERROR'] as const
export type DeviceStatus = (typeof DEVICE_STATUSES)[number]

/** What the edge itself says of a device, as if the device had said it on its status topic. */
export interface StatusFact {
  readonly status: DeviceStatus
  readonly reason: string
}

export type StatusEvent =
  | { readonly kind: 'connected' }
  /** The client said DISCONNECT. */
  | { readonly kind: 'disconnected' }
  /** The connection ended any other way. `will` is the status its last will is about to report, if it has one. */
  | {
      readonly kind: 'lost'
      readonly reason: 'connection lost' | 'keepalive timeout'
      readonly will: DeviceStatus | null
    }
  /** It was connected when an earlier run of the gateway ended, and did not return in time. */
  | { readonly kind: 'missing' }
  /** The device, or its will, said so itself; its own message is the record. */
  | { readonly kind: 'reported'; readonly status: DeviceStatus }

export interface StatusTransition {
  /** Null while nothing is known. */
  readonly status: DeviceStatus | null
  readonly fact: StatusFact | null
}

/**
 * The status after `event`. A device that reported MAINTENANCE or ERROR keeps it when it connects again; one that the edge
 * knows nothing of stays unknown when it leaves.
 */
export function transition(status: DeviceStatus | null, event: StatusEvent): StatusTransition {
  switch (event.kind) {
    case 'reported':
      return { status: event.status, fact: null }
    case 'connected':
      if (status !== null && status !== 'OFFLINE') return { status, fact: null }
      return changed('ONLINE', 'device connected')
    case 'disconnected':
      if (status === null || status === 'OFFLINE') return { status, fact: null }
      return changed('OFFLINE', 'device disconnected')
    case 'missing':
      // Whatever is known was said in this run: by its will, or by itself.
      return status === null ? changed('OFFLINE', 'not back after a restart of the gateway') : { status, fact: null }
    case 'lost':
      if (event.will !== null || status === null || status === 'OFFLINE') return { status, fact: null }
      return changed('OFFLINE', event.reason)
  }
}

/** The status in a message of the status topic; null when it is none, which the cloud says to whoever sent it. */
export function parseStatus(payload: Uint8Array): DeviceStatus | null {
  try {
    const message: unknown = JSON.parse(
      Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString('utf8'),
    )
    if (typeof message !== 'object' || message === null || !('status' in message)) return null
    return DEVICE_STATUSES.find((status) => status === message.status) ?? null
  } catch {
    return null
  }
}

function changed(status: DeviceStatus, reason: string): StatusTransition {
  return { status, fact: { status, reason } }
}
