/** Runs the load generator as a child process. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bunPath, startChild } from './child.ts'
import type { LoadLine, LoadResult, LoadSpec } from './mqtt-load-spec.ts'

export interface RunningLoad {
  readonly pid: number
  /** Every client is connected and the load begins, or the generator has ended; `result` tells which. */
  readonly ready: Promise<void>
  readonly result: Promise<LoadResult>
  /** As of about the last second. */
  progress(): { readonly sent: number; readonly acked: number }
  /** Ends the load now; `result` follows when outstanding acknowledgements are in. */
  finish(): void
}

/** Rejects `result` when the generator fails, with what it said. */
export function startLoad(spec: LoadSpec): RunningLoad {
  const dir = mkdtempSync(join(tmpdir(), 'busbar-load-'))
  const specPath = join(dir, 'spec.json')
  writeFileSync(specPath, JSON.stringify(spec))
  let progress = { sent: 0, acked: 0 }
  let result: LoadResult | null = null
  let readied: () => void = () => undefined
  const ready = new Promise<void>((resolve) => {
    readied = resolve
  })
  const child = startChild({
    command: [bunPath, join(import.meta.dirname, 'mqtt-load.ts'), specPath],
    onLine(text) {
      if (!text.startsWith('{')) return
      const line = JSON.parse(text) as LoadLine
      if (line.type === 'ready') readied()
      else if (line.type === 'progress') progress = line
      else result = line
    },
  })
  const finished = child.exited.then((exit) => {
    rmSync(dir, { recursive: true, force: true })
    if (result !== null) return result
    throw new Error(`the load generator ended with ${exit.code ?? exit.signal}: ${child.output().slice(-2000)}`)
  })
  return {
    pid: child.pid,
    ready: Promise.race([ready, child.exited.then(() => undefined)]),
    result: finished,
    progress: () => progress,
    finish: () => process.kill(child.pid, 'SIGTERM'),
  }
}
