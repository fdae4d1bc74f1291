/** A child process whose output is kept for the failure message and which never outlives its parent's exit. */

import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'

/** Output kept per child, characters; the oldest goes first. */
const OUTPUT_KEPT_MAX = 1_000_000

export const projectDir = join(import.meta.dirname, '..', '..')

/** The Bun that npm installed, also when this runs on Node. */
export const bunPath = process.versions.bun ? process.execPath : join(projectDir, 'node_modules', '.bin', 'bun')

export interface ChildExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface Child {
  readonly pid: number
  /** Standard output and error, interleaved as they came. */
  output(): string
  /** Set once it has exited. */
  readonly exit: ChildExit | null
  readonly exited: Promise<ChildExit>
  /** Sends the signal to it and what it started; resolves when it has exited, or at once for SIGSTOP and SIGCONT. */
  kill(signal: NodeJS.Signals): Promise<ChildExit | null>
}

const alive = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of alive) signalGroup(child, 'SIGKILL')
})

export interface ChildOptions {
  readonly command: readonly [string, ...string[]]
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  /** Called with every line of standard output. */
  readonly onLine?: (line: string) => void
}

export function startChild(options: ChildOptions): Child {
  const [file, ...args] = options.command
  // A process group of its own: Ctrl-C in a terminal reaches the parent only, which then stops its children in order.
  const child = spawn(file, args, {
    cwd: options.cwd ?? projectDir,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  alive.add(child)
  let output = ''
  let exit: ChildExit | null = null
  const keep = (text: string): void => {
    output += text
    if (output.length > OUTPUT_KEPT_MAX) output = output.slice(-OUTPUT_KEPT_MAX / 2)
  }
  let partial = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    keep(text)
    if (options.onLine === undefined) return
    const lines = (partial + text).split('\n')
    partial = lines.pop() ?? ''
    for (const line of lines) options.onLine(line)
  })
  child.stderr.setEncoding('utf8').on('data', keep)
  const exited = new Promise<ChildExit>((resolve) => {
    const ended = (code: number | null, signal: NodeJS.Signals | null): void => {
      alive.delete(child)
      exit = { code, signal }
      resolve(exit)
    }
    child.once('close', ended)
    child.once('error', (error) => {
      keep(`${error}\n`)
      ended(127, null)
    })
  })

  return {
    pid: child.pid ?? 0,
    output: () => output,
    get exit() {
      return exit
    },
    exited,
    async kill(signal) {
      if (exit === null) signalGroup(child, signal)
      return signal === 'SIGSTOP' || signal === 'SIGCONT' ? exit : exited
    },
  }
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, signal)
  } catch {
    // It is gone already.
  }
}
