/** Where a command writes: results to standard output, everything said about them to standard error. */

import { BusbarError, messageOf } from '../errors.ts'

export interface Terminal {
  /** Standard output; results only. */
  out(text: string): void
  /** Standard error. */
  err(text: string): void
  /** Whether standard output is a terminal, where tables are aligned for a reader. */
  readonly isInteractive: boolean
  /** Width of the terminal now; absent in a pipe. */
  readonly columns?: number | undefined
  readonly paint: Paint
}

export interface Paint {
  good(text: string): string
  caution(text: string): string
  bad(text: string): string
  faint(text: string): string
}

/** @param env for NO_COLOR (no-color.org) and TERM. */
export function processTerminal(env: Readonly<Record<string, string | undefined>>): Terminal {
  const isInteractive = process.stdout.isTTY === true
  const colours = isInteractive && !env.NO_COLOR && env.TERM !== 'dumb'
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    isInteractive,
    get columns() {
      return process.stdout.columns
    },
    paint: paintWith(colours),
  }
}

export function paintWith(colours: boolean): Paint {
  const style = (sequence: number) => (text: string) => (colours ? `\u001b[${sequence}m${text}\u001b[0m` : text)
  return { good: style(32), caution: style(33), bad: style(31), faint: style(2) }
}

/** The error, its code and its next step; the stack only of a fault of the program. */
export function describeError(error: unknown, paint: Paint): string {
  if (!(error instanceof BusbarError)) {
    const stack = error instanceof Error ? error.stack : undefined
    return `${paint.bad('fault:')} ${stack ?? messageOf(error)}\n`
  }
  const hint = error.hint === undefined ? '' : `${paint.faint('next:')} ${error.hint}\n`
  return `${paint.bad(`error ${error.code}:`)} ${error.message}\n${hint}`
}
