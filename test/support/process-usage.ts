/** What a process takes of the machine, from /proc (Linux). Threads are included. */

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

let ticksPerSecond: number | null = null

export interface ProcessUsage {
  /** CPU time since the process began, user and system, milliseconds; counted in steps of ten. */
  readonly cpuMs: number
  readonly residentBytes: number
  /** Bytes sent to the storage layer since the process began. */
  readonly writtenBytes: number
}

/** Throws when the process does not exist. */
export function usageOf(pid: number): ProcessUsage {
  ticksPerSecond ??= Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
  // The command's name is in brackets and may hold anything; the numbers begin after it.
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const ticks = Number(fields[11]) + Number(fields[12])
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const io = readFileSync(`/proc/${pid}/io`, 'utf8')
  return {
    cpuMs: (ticks * 1000) / ticksPerSecond,
    residentBytes: numberAfter(status, 'VmRSS:') * 1024,
    writtenBytes: numberAfter(io, 'write_bytes:'),
  }
}

function numberAfter(text: string, name: string): number {
  const line = text.split('\n').find((each) => each.startsWith(name))
  return Number(line?.slice(name.length).replace('kB', '').trim() ?? 0)
}
