/** Which boot of the operating system this is, and how long ago it was. */

import { readFileSync } from 'node:fs'
import type { Clock } from '../../shared/clock.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import type { Instant } from './boot-time.ts'

export interface Boot {
  readonly id: string
  /** Add to the process's monotonic clock to count from the boot. */
  readonly monotonicBaseMs: number
}

/**
 * The boot of this machine. A process's monotonic clock starts with the process; counting from the boot instead makes
 * the times of all processes of one boot comparable, so a restarted gateway that learns the time corrects what its
 * predecessor stored. Where the kernel does not say (no Linux), every process counts as a boot of its own.
 */
export function presentBoot(clock: Clock, random: Random): Boot {
  try {
    const id = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    const uptimeMs = Number.parseFloat(readFileSync('/proc/uptime', 'utf8')) * 1000
    if (id !== '' && Number.isFinite(uptimeMs)) return { id, monotonicBaseMs: uptimeMs - clock.monotonicMs() }
  } catch {
    // Not Linux, or /proc is hidden from us.
  }
  return { id: randomHex(random, 16), monotonicBaseMs: 0 }
}

export function instantOf(clock: Clock, boot: Boot): Instant {
  return {
    wallMs: Math.round(clock.wallMs()),
    monotonicMs: Math.max(0, Math.round(clock.monotonicMs() + boot.monotonicBaseMs)),
  }
}
