/**
 * The suite that aedes-persistence publishes, on ours. It wants the test context of node:test, so it is a program of its own:
 * it prints one line of JSON with the counts, and a line for every test that failed.
 */

import * as assertions from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BROKER_LIMITS } from '../../../../edge/broker/limits.ts'
import { ObservedTopics } from '../../../../edge/broker/observed-topics.ts'
import { DurablePersistence } from '../../../../edge/broker/persistence/durable-persistence.ts'
import { loadSessions, sessionsPath } from '../../../../edge/broker/persistence/open-sessions.ts'
import { SessionJournal } from '../../../../edge/broker/persistence/session-journal.ts'
import { systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'

interface Context {
  plan(count: number): void
  diagnostic(text: string): void
  readonly assert: Record<string, (...values: unknown[]) => void>
}

const abstractSuite = createRequire(import.meta.url)('aedes-persistence/abstract.js')
const tests: { readonly name: string; run(context: Context): Promise<void> }[] = []
const root = mkdtempSync(join(tmpdir(), 'busbar-suite-'))
let created = 0

abstractSuite({
  test: (name: string, run: (context: Context) => Promise<void>) => tests.push({ name, run }),
  persistence: () => {
    const dir = join(root, String(created++))
    const image = loadSessions(dir, silentLogger)
    const journal = new SessionJournal({
      path: sessionsPath(dir),
      changesMax: BROKER_LIMITS.sessionChangesMax,
      clock: systemClock,
      random: systemRandom,
      log: silentLogger,
    })
    return new DurablePersistence({
      journal,
      image,
      random: systemRandom,
      queueMax: BROKER_LIMITS.sessionQueueMax,
      retainedMax: BROKER_LIMITS.retainedMax,
      sessionsMax: BROKER_LIMITS.sessionsMax,
      admits: () => true,
      observed: new ObservedTopics(),
      dropped: () => undefined,
    })
  },
  testAsync: true,
})

let passed = 0
let failed = 0
for (const { name, run } of tests) {
  let planned: number | null = null
  let asserted = 0
  const assert = new Proxy(assertions as unknown as Context['assert'], {
    get:
      (target, method: string) =>
      (...values: unknown[]) => {
        asserted++
        target[method]?.(...values)
      },
  })
  try {
    await run({ plan: (count) => (planned = count), diagnostic: () => undefined, assert })
    if (planned !== null && asserted !== planned) throw new Error(`${asserted} assertions, ${planned} were planned`)
    passed++
  } catch (error) {
    failed++
    process.stdout.write(`${JSON.stringify({ failed: name, error: String(error) })}\n`)
  }
}
rmSync(root, { recursive: true, force: true })
process.stdout.write(`${JSON.stringify({ passed, failed })}\n`)
process.exit(failed === 0 ? 0 : 1)
