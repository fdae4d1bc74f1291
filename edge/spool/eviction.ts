/** When room must be made, how much, and why. Pure; the store deletes and keeps the books. */

import type { GapReason } from './item.ts'
import { DISK_SLACK_BYTES, WORKING_BYTES } from './limits.ts'

export interface SpaceLimits {
  /** Bytes that the spool may take. */
  readonly bytesMax: number
  /** Bytes of the disk that are left to others. */
  readonly diskFreeBytesMin: number
}

export interface SpaceUsage {
  /** Bytes in use within the database file. */
  readonly liveBytes: number
  /** Bytes of the file that can be used again. */
  readonly freeBytes: number
  /** Bytes that could be freed by giving up every block. */
  readonly evictableBytes: number
  /** Bytes free on the disk. */
  readonly diskFreeBytes: number
}

export type Room =
  | { readonly kind: 'enough' }
  | { readonly kind: 'evict'; readonly bytes: number; readonly reason: Extract<GapReason, 'bytes' | 'disk'> }
  | { readonly kind: 'none'; readonly why: string }

/**
 * What it takes to store `newBytes`, of which the write-ahead log needs as much again.
 *
 * A file does not shrink when blocks are given up, so on a full disk eviction helps by making pages free for use again:
 * the file stays as large as it is. When not even giving up everything would make room, nothing is given up.
 */
export function roomFor(newBytes: number, usage: SpaceUsage, limits: SpaceLimits): Room {
  const excess = Math.max(0, usage.liveBytes + newBytes - limits.bytesMax)
  const growth = Math.max(0, newBytes - usage.freeBytes)
  const isSmall = usage.liveBytes + usage.freeBytes + newBytes <= WORKING_BYTES
  const leftToOthers = isSmall ? 0 : limits.diskFreeBytesMin
  const spare = usage.diskFreeBytes - leftToOthers - newBytes - DISK_SLACK_BYTES
  const shortfall = growth > Math.max(0, spare) ? growth : 0
  const bytes = Math.max(excess, shortfall)
  if (bytes === 0) return { kind: 'enough' }
  if (bytes > usage.evictableBytes) {
    return {
      kind: 'none',
      why:
        shortfall > 0 ? 'the disk has too little free space left' : 'the spool is too small for what arrives at once',
    }
  }
  return { kind: 'evict', bytes, reason: excess >= shortfall ? 'bytes' : 'disk' }
}
