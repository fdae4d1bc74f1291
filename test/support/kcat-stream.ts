/** A program of somebody else that produces without end: kcat, idempotent, with keys on the partitions of Java's clients. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'

export class KcatStream {
  private readonly child: ChildProcess
  private readonly closed: Promise<unknown>
  private readonly errors: Buffer[] = []
  /** Resolves when what was written may be followed by more. */
  private drained: Promise<unknown> = Promise.resolve()

  /** @param headers of every record. */
  constructor(brokers: readonly string[], topic: string, headers: Readonly<Record<string, string>> = {}) {
    const settings = ['enable.idempotence=true', 'acks=all', 'partitioner=murmur2_random', 'linger.ms=5']
    this.child = spawn('kcat', [
      ...['-P', '-b', brokers.join(','), '-t', topic, '-K', '\\t'],
      ...settings.flatMap((setting) => ['-X', setting]),
      ...Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}=${value}`]),
    ])
    this.child.stderr?.on('data', (chunk: Buffer) => this.errors.push(chunk))
    this.closed = once(this.child, 'close')
    // It says why when it is closed.
    this.child.stdin?.on('error', () => undefined)
  }

  /** Records of one line each, in this order. */
  async write(records: readonly { readonly key: string; readonly value: string }[]): Promise<void> {
    await this.drained
    const { stdin } = this.child
    if (stdin === null) throw new Error('kcat has no input')
    const lines = records.map(({ key, value }) => `${key}\t${value}\n`).join('')
    this.drained = stdin.write(lines) ? Promise.resolve() : Promise.race([once(stdin, 'drain'), this.closed])
  }

  /** Resolves when the brokers have everything. */
  async close(): Promise<void> {
    this.child.stdin?.end()
    await this.closed
    if (this.child.exitCode !== 0) {
      throw new Error(`kcat exited with ${this.child.exitCode}: ${Buffer.concat(this.errors)}`)
    }
  }

  kill(): void {
    this.child.kill('SIGKILL')
  }
}
