/** Values of user-activity-logs as programs of others write them: by the contract, with nothing of ours. */

export type ActivityValue = {
  readonly userId: string
  readonly activityType: string
  readonly timestamp: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly eventId: string
  readonly version: string
}

/** The address and the agent that all of them carry, which are kept encrypted. */
export const FOREIGN_ADDRESS = '192.168.77.1'
export const FOREIGN_AGENT = 'Mozilla/5.0 (foreign)'
/** Of a type that needs no config, and that nobody is alarmed by. */
export const NUMBERED_TYPE = 'page_view'

/** The n-th of a user, from 0: `metadata.n` says so, and so does its id. */
export function activityValue(userId: string, n: number, changes: Partial<ActivityValue> = {}): ActivityValue {
  return {
    userId,
    activityType: NUMBERED_TYPE,
    timestamp: new Date().toISOString(),
    metadata: { ipAddress: FOREIGN_ADDRESS, userAgent: FOREIGN_AGENT, sessionId: `sess_${userId}`, n },
    eventId: `evt_${userId}_${n}`,
    version: '1.0',
    ...changes,
  }
}
