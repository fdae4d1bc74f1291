/** Notices by number, the same in every process: the even ones alone, for ann and bob, the odd ones a burst, for subscribers. */

import { type Notice, SUBSCRIBERS } from '../../cloud/notifications/notifications.ts'

export function numberedNotice(number: number): Notice {
  const label = `D${number} OFFLINE`
  const common = {
    severity: 'WARNING',
    relatedEntityId: `D${number}`,
    siteIds: [1],
    key: `n/${number}`,
    atMs: number,
  } as const
  return number % 2 === 0
    ? {
        ...common,
        type: 'TELEMETRY_ALERT',
        title: `A${number}`,
        content: 'alone',
        recipients: { userIds: ['ann', 'bob'], subscribers: false },
      }
    : {
        ...common,
        type: 'DEVICE_STATUS',
        title: label,
        content: 'of a burst',
        recipients: SUBSCRIBERS,
        burst: { key: 'gw', subject: 'gateway gw', label },
      }
}
