/**
 * How far messages have come, as this core has told it: the bus may say it again, the older after the newer, and what was told
 * is not taken back. Pure.
 */

import { putLast } from '../../../../shared/bounded.ts'
import { memberKey, type StatusRecord } from '../../../chat/chat.ts'
import { STATUSES_TOLD_MAX } from './chat-limits.ts'

/** Positions of one user in one conversation. */
interface Told {
  sent: number
  delivered: number
  read: number
}

export class StatusesTold {
  /** By user and conversation, the one that was told last is last; of too many the first is forgotten. */
  private readonly told = new Map<string, Told>()

  /** Whether it says something that was not told yet; it counts as told from now on. */
  take(record: StatusRecord): boolean {
    const { status, position } = record
    const key = memberKey(record)
    const told = this.told.get(key) ?? { sent: 0, delivered: 0, read: 0 }
    // SENT is of what the user wrote, the others of what they got; what was read was delivered before.
    const before = status === 'SENT' ? told.sent : status === 'DELIVERED' ? told.delivered : told.read
    if (position <= before) return false
    if (status === 'SENT') told.sent = position
    else told.delivered = Math.max(told.delivered, position)
    if (status === 'READ') told.read = position
    putLast(this.told, key, told, STATUSES_TOLD_MAX)
    return true
  }
}
