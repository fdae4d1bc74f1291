/** Items of a spool that is only a list, for simulations. */

import { lastSequence, type SpoolItem, type StoredBlock, type StoredGap } from '../../edge/spool/item.ts'
import type { Lane } from '../../shared/lanes.ts'

/** Of `bytes` zero bytes, not decodable. */
export function plainBlock(lane: Lane, firstSequence: number, recordCount: number, bytes: number): StoredBlock {
  const stamp = { wallMs: 0, bootId: 'boot', monotonicMs: 0 }
  const body = { encoding: 'identity', crc32c: 0, bodyBytes: bytes, data: new Uint8Array(bytes) } as const
  return { kind: 'block', lane, firstSequence, recordCount, ...body, ...stamp }
}

export function gapInsteadOf({ lane, firstSequence, recordCount, wallMs }: StoredBlock): StoredGap {
  const times = { wallMs, firstWallMs: wallMs, lastWallMs: wallMs }
  return { kind: 'gap', lane, firstSequence, recordCount, reason: 'bytes', ...times }
}

/** As the spool's `readAfter`. */
export function itemsAfter(
  items: readonly SpoolItem[],
  afterSequence: number,
  throughSequence: number | null,
  bytesMax: number,
): SpoolItem[] {
  const found: SpoolItem[] = []
  let bytes = 0
  for (const item of items) {
    const cost = item.kind === 'block' ? item.data.length : 0
    if (lastSequence(item) <= afterSequence) continue
    if (throughSequence !== null && item.firstSequence > throughSequence) break
    if (found.length > 0 && bytes + cost > bytesMax) break
    found.push(item)
    bytes += cost
  }
  return found
}
