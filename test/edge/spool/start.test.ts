/** Starting costs the same whatever the backlog, and works from a single file. */

import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { NewBlock } from '../../../edge/spool/messages.ts'
import { bunPath, projectDir } from '../../support/child.ts'
import { startSpool, stopSpool } from '../../support/spool.ts'
import { at, newBlock, openStore } from '../../support/spool-store.ts'
import { tempDir } from '../../support/temp-dir.ts'

/** Blocks of 2,000 records in commits of 50: as many as the link was away for. */
function backlogOf(records: number, dir: string): void {
  const spool = openStore(dir, at(0), { bootId: 'boot-before' })
  const texts = Array.from({ length: 2000 }, (_, n) => `{"powerKw":${(n * 7919) % 1000},"voltage":${480 + (n % 7)}}`)
  const { body, ...rest } = newBlock('telemetry', texts, at(0))
  for (let left = records; left > 0; left -= 100_000) {
    const blocks: NewBlock[] = Array.from({ length: Math.min(50, left / 2000) }, () => ({
      ...rest,
      body: body.slice(),
    }))
    spool.store.commit(blocks, { priority: [], telemetry: [] }, at(0))
  }
  spool.store.close()
}

test('a million records of backlog do not delay the start', async () => {
  const [none, million] = [await tempDir(), await tempDir()]
  backlogOf(0, none)
  backlogOf(1_000_000, million)
  const timeToStart = async (dir: string) => {
    const times = []
    for (let round = 0; round < 3; round++) {
      const begun = performance.now()
      const spool = await startSpool(dir)
      times.push(performance.now() - begun)
      expect(spool.stats().lanes.telemetry.records).toBe(dir === million ? 1_000_000 : 0)
      await stopSpool(spool)
    }
    return Math.min(...times)
  }
  const [withNone, withMillion] = [await timeToStart(none), await timeToStart(million)]
  expect(withMillion).toBeLessThan(1000)
  // What a start costs is the thread; the noise of a busy machine is larger than the difference.
  expect(withMillion).toBeLessThan(withNone * 3 + 100)
})

test('the thread starts from a compiled binary, without sources and node_modules', async () => {
  const dir = await tempDir()
  const binary = join(dir, 'probe')
  mkdirSync(join(dir, 'tmp'))
  // Built as the programs are: the project is the root, the thread an entry of its own.
  const entries = ['test/support/spool-writer.ts', 'edge/spool/worker.ts']
  execFileSync(bunPath, ['build', '--compile', '--root', '.', ...entries, '--outfile', binary], {
    cwd: projectDir,
    stdio: 'pipe',
  })
  const run = () => {
    const env = { TMPDIR: join(dir, 'tmp') }
    // Two records, one in each lane.
    return execFileSync(binary, [join(dir, 'spool'), 'compiled', '2'], { cwd: '/', env, encoding: 'utf8' })
  }
  const opened = (output: string) => Number(/^open (\d+)\nok 0\nok 1\n$/.exec(output)?.[1])
  const first = opened(run())
  expect(first).toBeGreaterThan(2 ** 32)
  expect(opened(run())).toBe(first + 1)
})
