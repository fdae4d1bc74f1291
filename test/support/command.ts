/** Runs a command of ours to its end, as a user would. */

import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { bunPath, projectDir } from './child.ts'

export interface CommandResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface CommandOptions {
  /** Added to an environment without any BUSBAR variable. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Path of the compiled program; from the sources where absent. */
  readonly binary?: string
  /** Standard input; empty where absent. */
  readonly input?: string
}

/** `busbar('edge', ['status'], …)`: neither input nor output is a terminal. */
export function busbar(
  app: 'edge' | 'cloud',
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('BUSBAR_'))
  const { binary } = options
  const program = binary === undefined ? [bunPath, join(projectDir, app, 'main.ts')] : [binary]
  const child = spawn(program[0] as string, [...program.slice(1), ...args], {
    cwd: options.cwd ?? projectDir,
    env: { ...Object.fromEntries(inherited), ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  // A command that does not read may be gone already.
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.input ?? '')
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, stdout, stderr }))
  })
}
