/** Wherever the process is killed, each command that was receipted runs once and ends once. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parseCommandFact } from '../../../shared/command-fact.ts'
import { bunPath, projectDir, startChild } from '../../support/child.ts'
import { describeWith } from '../../support/real-parts.ts'
import { readRecords, startSpool, stopSpool } from '../../support/spool.ts'
import { tempDir } from '../../support/temp-dir.ts'
import type { Point } from './support/inbox-process.ts'

const PROCESS = join(projectDir, 'test/edge/commands/support/inbox-process.ts')

interface Run {
  readonly receipts: readonly string[]
  readonly done: boolean
  readonly signal: string | null
}

/** Runs it to its end, natural or not. */
async function run(dir: string, count: number, dieAt: Point | '' = '', strace: readonly string[] = []): Promise<Run> {
  const lines: string[] = []
  const own = [bunPath, PROCESS, dir, String(count), dieAt] as [string, ...string[]]
  const child = startChild({
    command: strace.length > 0 ? ['strace', '-f', '-o', '/dev/null', ...strace, ...own] : own,
    onLine: (line) => void lines.push(line),
  })
  const { signal } = await child.exited
  const receipts = lines.flatMap((line) => (line.startsWith('receipt ') ? [line.slice(8)] : []))
  return { receipts, done: lines.includes('done'), signal }
}

/** What the device saw and what the spool has. */
async function outcome(dir: string) {
  const device = readFileSync(join(dir, 'device'), 'utf8').split('\n')
  const of = (word: string) => device.flatMap((line) => (line.startsWith(`${word} `) ? [line.split(' ')[1]] : []))
  const spool = await startSpool(join(dir, 'spool'))
  const facts = (await readRecords(spool, 'priority')).flatMap(({ text }) => parseCommandFact(text) ?? [])
  await stopSpool(spool)
  return { published: of('publish'), ran: of('ran'), answered: of('answered'), facts }
}

/** Checks what must hold for c0 to c(count-1), all of which have ended. */
async function expectOnce(dir: string, count: number): Promise<void> {
  const ids = Array.from({ length: count }, (_, n) => `c${n}`)
  const { published, ran, answered, facts } = await outcome(dir)
  expect([...ran].sort()).toEqual([...ids].sort())
  expect(new Set(published).size, 'PUBLISH without DUP').toBe(published.length)
  for (const id of ids) {
    const states = facts.flatMap(({ commandId, state }) => (commandId === id ? [state] : []))
    const ends = new Set(states.filter((state) => state !== 'DELIVERED'))
    // The end of an answered command that the edge did not live to store is for the cloud to ignore.
    if (!answered.includes(id)) expect([...ends], id).toEqual(['TIMED_OUT'])
    else expect([...ends].every((end) => end === 'TIMED_OUT')).toBe(true)
  }
}

const POINTS: readonly Point[] = [
  'before-publish',
  'after-publish',
  'before-release',
  'after-release',
  'completed',
  'answered',
  'told',
]

test.each(POINTS)('killed at "%s", it goes on where it was', async (point) => {
  const dir = await tempDir()
  const killed = await run(dir, 3, point)
  expect(killed).toMatchObject({ receipts: ['c0', 'c1', 'c2'], done: false, signal: 'SIGKILL' })
  const after = await run(dir, 3)
  expect(after).toMatchObject({ receipts: ['c0', 'c1', 'c2'], done: true })
  await expectOnce(dir, 3)
})

describeWith(['strace'], 'with strace cutting in', () => {
  test('killed at any write to a file, it goes on where it was', async () => {
    const dir = await tempDir()
    let count = 0
    for (const when of [1, 4, 9, 15, 22, 31, 45]) {
      count += 2
      await run(dir, count, '', ['-e', `inject=pwrite64:signal=KILL:when=${when}`])
    }
    expect(await run(dir, count)).toMatchObject({ done: true })
    await expectOnce(dir, count)
  }, 120_000)

  test('a sync that fails receipts nothing that is lost, and everything ends', async () => {
    const dir = await tempDir()
    for (const when of ['2', '4..5', '8', '11+4']) {
      const { receipts, done } = await run(dir, 4, '', ['-e', `inject=fsync,fdatasync:error=EIO:when=${when}`])
      if (done) expect(receipts.length).toBeLessThanOrEqual(4)
    }
    expect(await run(dir, 4)).toMatchObject({ receipts: ['c0', 'c1', 'c2', 'c3'], done: true })
    await expectOnce(dir, 4)
  }, 120_000)
})
