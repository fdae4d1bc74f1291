/** A spool on a real disk with small limits, and shorthand for putting records in and taking them out. */

import { onTestFinished } from 'vitest'
import { decodeRecords } from '../../edge/spool/encoding.ts'
import { lastSequence, type SpoolItem } from '../../edge/spool/item.ts'
import { Spool, type SpoolOptions } from '../../edge/spool/spool.ts'
import { systemClock } from '../../shared/clock.ts'
import type { BusbarError } from '../../shared/errors.ts'
import type { Lane } from '../../shared/lanes.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'

export const TOPIC = 'sites/1/devices/INV-001/telemetry'

/** Stopped when the test ends. */
export function newSpool(dir: string, overrides: Partial<SpoolOptions> = {}): Spool {
  const spool = new Spool({
    dir,
    bytesMax: 256 * 1024 * 1024,
    ageMaxMs: 365 * 24 * 3600_000,
    diskFreeBytesMin: 0,
    blockBytesMax: 64 * 1024,
    pendingBytesMax: 4 * 1024 * 1024,
    compressionLevel: 1,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    ...overrides,
  })
  onTestFinished(() => stopSpool(spool))
  return spool
}

export async function startSpool(dir: string, overrides: Partial<SpoolOptions> = {}): Promise<Spool> {
  const spool = newSpool(dir, overrides)
  await spool.start()
  return spool
}

export function stopSpool(spool: Spool): Promise<void> {
  return spool.stop(AbortSignal.timeout(10_000))
}

/** Appends in one turn; resolves with each one's outcome when all are known. */
export function append(
  spool: Spool,
  payloads: readonly (string | Uint8Array)[],
  options: { lane?: Lane; topic?: string } = {},
): Promise<(BusbarError | null)[]> {
  const { lane = 'telemetry', topic = TOPIC } = options
  return new Promise((resolve) => {
    const outcomes: (BusbarError | null)[] = []
    const listener = {
      committed(token: number, error: BusbarError | null) {
        if (token !== outcomes.length) throw new Error(`told of ${token} after ${outcomes.length - 1}`)
        outcomes.push(error)
        if (outcomes.length === payloads.length) resolve(outcomes)
      },
    }
    for (const [token, payload] of payloads.entries()) {
      spool.append(lane, topic, typeof payload === 'string' ? Buffer.from(payload) : payload, listener, token)
    }
  })
}

/** One commit, so one block, for each payload. */
export async function appendEach(spool: Spool, payloads: readonly string[], lane: Lane = 'telemetry'): Promise<void> {
  for (const payload of payloads) {
    const [error] = await append(spool, [payload], { lane })
    if (error) throw error
  }
}

export async function readItems(spool: Spool, lane: Lane = 'telemetry', after = 0): Promise<SpoolItem[]> {
  const items: SpoolItem[] = []
  for (let next = after; ; ) {
    const read = await spool.readAfter(lane, next, { bytesMax: 64 * 1024 })
    const last = read.at(-1)
    if (last === undefined) return items
    items.push(...read)
    next = lastSequence(last)
  }
}

export interface ReadRecord {
  readonly sequence: number
  readonly topic: string
  readonly text: string
  /** Corrected wall clock of the record, Unix milliseconds. */
  readonly wallMs: number
}

/** The records of the items' blocks, checked and decoded. */
export function recordsOf(items: readonly SpoolItem[]): ReadRecord[] {
  return items.flatMap((item) =>
    item.kind === 'gap'
      ? []
      : decodeRecords(item).map(({ topic, delayMs, payload }, index) => ({
          sequence: item.firstSequence + index,
          topic,
          text: Buffer.from(payload).toString(),
          wallMs: item.wallMs + delayMs,
        })),
  )
}

export async function readRecords(spool: Spool, lane: Lane = 'telemetry', after = 0): Promise<ReadRecord[]> {
  return recordsOf(await readItems(spool, lane, after))
}

export const texts = (records: readonly ReadRecord[]): string[] => records.map(({ text }) => text)

export function numbered(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => `{"n":${from + index}}`)
}

/** `length` bytes that zstd cannot make smaller. */
export function noise(length: number): Uint8Array {
  return systemRandom.bytes(length)
}
