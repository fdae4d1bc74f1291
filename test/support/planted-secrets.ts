/** Secrets that can be told from anything else, and a watch over every place where one might come out. */

import { readFileSync } from 'node:fs'
import { bunPath, projectDir, startChild } from './child.ts'

/** A secret under a name; each is also looked for in base64 and as it stands in a URL. */
export type Planted = Readonly<Record<string, string>>

export class LeakWatch {
  private readonly planted: Map<string, readonly string[]>
  private readonly seen: { readonly where: string; readonly text: string }[] = []

  constructor(planted: Planted) {
    this.planted = new Map(Object.entries(planted).map(([name, secret]) => [name, formsOf(secret)]))
  }

  /** What has come up meanwhile, such as a key that a program made. */
  plant(name: string, secret: string): void {
    this.planted.set(name, formsOf(secret))
  }

  /** Something that others can read. */
  see(where: string, text: string): void {
    this.seen.push({ where, text })
  }

  /** Bytes of everything that was seen: a watch that saw nothing has proven nothing. */
  get seenBytes(): number {
    return this.seen.reduce((sum, { text }) => sum + text.length, 0)
  }

  /** Each a place and the name of what came out there, with its surroundings. */
  leaks(): string[] {
    return this.seen.flatMap(({ where, text }) =>
      [...this.planted].flatMap(([name, forms]) => {
        const at = forms.map((form) => text.indexOf(form)).find((found) => found >= 0)
        return at === undefined ? [] : [`${name} in ${where}: …${text.slice(Math.max(0, at - 120), at + 60)}…`]
      }),
    )
  }

  /** Runs a program from its sources and sees what it writes; resolves with its exit status. */
  async run(
    program: 'cloud' | 'edge',
    args: readonly string[],
    env: Record<string, string> = {},
  ): Promise<number | null> {
    const child = startChild({ command: [bunPath, `${projectDir}/${program}/main.ts`, ...args], env })
    const { code } = await child.exited
    this.see(`${program} ${args.join(' ')}`, child.output())
    return code
  }

  /** Sends a request and sees the whole answer. */
  async ask(url: string, init: RequestInit = {}): Promise<Response> {
    const response = await fetch(url, { redirect: 'manual', ...init })
    const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join('\n')
    this.see(`${init.method ?? 'GET'} ${new URL(url).pathname}`, `${headers}\n\n${await response.text()}`)
    return response
  }

  /** What anybody on the machine can see of a process. */
  seeArguments(pid: number): void {
    this.see(`the arguments of process ${pid}`, readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
  }
}

function formsOf(secret: string): readonly string[] {
  return [
    ...new Set([
      secret,
      encodeURIComponent(secret),
      JSON.stringify(secret).slice(1, -1),
      Buffer.from(secret).toString('base64'),
    ]),
  ]
}
