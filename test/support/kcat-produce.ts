/** Producing with kcat, as a program of somebody else would. */

import { spawn } from 'node:child_process'

/** Appends one record; resolves when the broker has it. */
export async function produceRecord(
  brokers: readonly string[],
  topic: string,
  record: { readonly key: string; readonly value: string },
): Promise<void> {
  const child = spawn('kcat', ['-b', brokers.join(','), '-P', '-t', topic, '-k', record.key, '-X', 'acks=all'])
  const errors: Buffer[] = []
  child.stderr.on('data', (chunk: Buffer) => errors.push(chunk))
  child.stdin.end(record.value)
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  if (status !== 0) throw new Error(`kcat exited with ${status}: ${Buffer.concat(errors)}`)
}
