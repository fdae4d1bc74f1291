/** Whatever kills the process, every record that was acknowledged is there afterwards, in order, under one sequence. */

import { join } from 'node:path'
import { expect, test } from 'vitest'
import { LANES } from '../../../shared/lanes.ts'
import { bunPath, projectDir, startChild } from '../../support/child.ts'
import { describeWith } from '../../support/real-parts.ts'
import { readRecords, startSpool, stopSpool } from '../../support/spool.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'

const WRITER = join(projectDir, 'test/support/spool-writer.ts')
interface WriterRun {
  /** Next sequence when it had opened the spool; null when it did not get that far. */
  readonly opened: number | null
  /** The records that it was told are durable. */
  readonly durable: readonly number[]
  readonly failures: readonly string[]
  readonly code: number | null
}

/** Runs a writer until it exits, or kills it `killAfterMs` after it opened the spool. */
async function runWriter(
  args: readonly string[],
  { killAfterMs, strace = [] }: { killAfterMs?: number; strace?: readonly string[] } = {},
): Promise<WriterRun> {
  let opened: number | null = null
  let last = -1
  const failed = new Map<number, string>()
  const writer = [bunPath, WRITER, ...args] as [string, ...string[]]
  const child = startChild({
    command: strace.length > 0 ? ['strace', '-f', '-o', '/dev/null', ...strace, ...writer] : writer,
    onLine(line) {
      const [word, value, code] = line.split(' ')
      if (word === 'open') opened = Number(value)
      if (word === 'ok') last = Number(value)
      if (word === 'failed') failed.set(Number(value), code ?? '')
    },
  })
  if (killAfterMs !== undefined) {
    await until(() => opened !== null || child.exit !== null)
    await new Promise((resolve) => setTimeout(resolve, killAfterMs))
    await child.kill('SIGKILL')
  }
  const { code } = await child.exited
  const durable = Array.from({ length: last + 1 }, (_, n) => n).filter((n) => !failed.has(n))
  return { opened, durable, failures: [...failed.values()], code }
}

/** Checks both lanes of the spool against what the writers were told; by the writers' labels. */
async function expectDurable(dir: string, told: ReadonlyMap<string, readonly number[]>): Promise<void> {
  const spool = await startSpool(dir)
  const found = new Map<string, Set<number>>()
  for (const lane of LANES) {
    const records = await readRecords(spool, lane)
    const first = records[0]?.sequence ?? 0
    expect(records.every(({ sequence }, index) => sequence === first + index)).toBe(true)
    const lastOf = new Map<string, number>()
    for (const { text } of records) {
      const [label = '', n = ''] = text.replace(/\.+$/, '').split(':')
      expect(Number(n), `${text} comes after ${lastOf.get(label)}`).toBeGreaterThan(lastOf.get(label) ?? -1)
      lastOf.set(label, Number(n))
      found.set(label, (found.get(label) ?? new Set()).add(Number(n)))
    }
    expect(spool.laneState()[lane].nextSequence).toBe(records.length === 0 ? expect.anything() : first + records.length)
  }
  for (const [label, durable] of told) {
    const missing = durable.filter((n) => !found.get(label)?.has(n))
    expect(missing, `acknowledged to ${label} and lost`).toEqual([])
  }
  await stopSpool(spool)
}

test('kill -9 at 20 random moments loses nothing that was acknowledged', async () => {
  const dir = await tempDir()
  const told = new Map<string, readonly number[]>()
  let next = 0
  for (let round = 0; round < 20; round++) {
    const run = await runWriter([dir, `k${round}`], { killAfterMs: Math.random() * 150 })
    expect(run.opened).toBeGreaterThanOrEqual(next)
    next = run.opened ?? next
    told.set(`k${round}`, run.durable)
  }
  expect([...told.values()].filter((durable) => durable.length > 0).length).toBeGreaterThan(5)
  await expectDurable(dir, told)
}, 120_000)

describeWith(['strace'], 'with strace cutting in', () => {
  test('a process that dies at any write to the file loses nothing that was acknowledged', async () => {
    const dir = await tempDir()
    const told = new Map<string, readonly number[]>()
    // Counted from the process's start: opening, the first commits, and commits in the middle of the log.
    for (const when of [1, 2, 3, 4, 5, 6, 8, 11, 13, 16, 19, 23, 28, 34, 41]) {
      const label = `w${when}`
      const run = await runWriter([dir, label, '15'], { strace: ['-e', `inject=pwrite64:signal=KILL:when=${when}`] })
      told.set(label, run.durable)
    }
    expect([...told.values()].some((durable) => durable.length > 3)).toBe(true)
    await expectDurable(dir, told)
  }, 120_000)

  test('a sync that fails acknowledges nothing, and what was stored before and after is whole', async () => {
    const dir = await tempDir()
    const told = new Map<string, readonly number[]>()
    let refused = 0
    for (const when of ['3', '5', '6', '7..9', '10+3']) {
      const label = `s${when}`
      const run = await runWriter([dir, label, '12'], { strace: ['-e', `inject=fsync:error=EIO:when=${when}`] })
      expect(run.failures.every((code) => code === 'SPOOL_WRITE_FAILED')).toBe(true)
      refused += run.failures.length
      // One bad sync does not make a gateway deaf.
      if (run.opened !== null) expect(run.durable.length).toBeGreaterThan(6)
      told.set(label, run.durable)
    }
    expect(refused).toBeGreaterThan(3)
    await expectDurable(dir, told)
  }, 120_000)
})
