/** Style that matters is a failing test: import arrows, file size, stray clocks, and more. */

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { projectDir } from './support/child.ts'
import { importViolations } from './support/tidy-imports.ts'
import { textViolations } from './support/tidy-text.ts'

/** These hold the patterns they look for. */
const SELF = /^test\/(tidy\.test|support\/tidy-\w+)\.ts$/

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts', '*.tsx'], {
  cwd: projectDir,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && !file.startsWith('proto/generated/') && !SELF.test(file))

describe('the sources', () => {
  it('are found', () => {
    expect(files.length).toBeGreaterThan(50)
  })

  it('keep the rules', () => {
    const violations = files.flatMap((file) => {
      const text = readFileSync(join(projectDir, file), 'utf8')
      return [...importViolations(file, text), ...textViolations(file, text)].map((each) => `${file}:${each}`)
    })
    expect(violations).toEqual([])
  })
})

describe('the import rules', () => {
  it.each([
    ['edge/broker/a.ts', "import { x } from '../../cloud/bus/bus.ts'"],
    ['edge/broker/a.ts', "import type { X } from '../../cloud/bus/bus.ts'"],
    ['cloud/api/a.ts', "import {\n  x,\n} from '../../edge/config.ts'"],
    ['cloud/api/a.ts', "const x = await import('../../edge/config.ts')"],
    ['shared/a.ts', "export { x } from '../edge/spool/item.ts'"],
    ['cloud/api/a.ts', "import { x } from '../../test/support/until.ts'"],
    ['cloud/api/a.ts', "import { x } from '../telemetry/telemetry-store.ts'"],
    ['cloud/ingest/a.ts', "import { DeviceStore } from '../registry/device-store.ts'"],
    ['cloud/ingest/a.ts', "import { x } from '../bus/kafka/producer.ts'"],
    ['cloud/ingest/a.ts', "import { createBus } from '../bus/create-bus.ts'"],
    ['cloud/ingest/a.ts', "import { loadCloudConfig } from '../config.ts'"],
    ['edge/uplink/a.ts', "import { createGateway } from '../gateway.ts'"],
    ['cloud/telemetry/a.ts', "import { Kafka } from 'kafkajs'"],
    ['cloud/telemetry/a.ts', "import x from '@platformatic/kafka/dist/x.js'"],
    ['edge/spool/a.ts', "import 'aedes'"],
  ])('refuse, in %s: %s', (file, text) => {
    expect(importViolations(file, `/** Why. */\n${text}\n`)).toEqual([expect.stringMatching(/^2: imports /)])
  })

  it.each([
    ['edge/broker/a.ts', "import type { Clock } from '../../shared/clock.ts'"],
    ['cloud/ingest/a.ts', "import type { Bus } from '../bus/bus.ts'"],
    ['cloud/api/a.ts', "import type { Site } from '../registry/site-store.ts'"],
    ['cloud/api/a.ts', "import { telemetry } from '../telemetry/telemetry.ts'"],
    ['cloud/core.ts', "import { createBus } from './bus/create-bus.ts'"],
    ['cloud/cli/topics.ts', "import { createBus } from '../bus/create-bus.ts'"],
    ['cloud/bus/create-bus.ts', "import { KafkaBus } from './kafka/kafka-bus.ts'"],
    ['cloud/bus/kafka/a.ts', "import { Kafka } from 'kafkajs'"],
    ['test/system/a.ts', "import { x } from '../../edge/gateway.ts'"],
  ])('allow, in %s: %s', (file, text) => {
    expect(importViolations(file, text)).toEqual([])
  })
})

describe('the text rules', () => {
  const lines = (count: number) => `/** Why. */\n${'x()\n'.repeat(count - 1)}`

  it.each([
    ['edge/a.ts', 'const now = Date.now()'],
    ['edge/a.ts', 'const now = new Date()'],
    ['cloud/a.ts', 'performance.now()'],
    ['cloud/a.ts', 'setTimeout(fn, 1)'],
    ['shared/a.ts', 'fetch(url, { signal: AbortSignal.timeout(5) })'],
    ['shared/a.ts', 'Math.random()'],
    ['edge/a.ts', 'const id = randomUUID()'],
    ['edge/a.ts', "console.log('here')"],
    ['cloud/api/a.ts', 'process.env.HOME'],
    ['edge/cli/a.ts', 'process.exit(1)'],
    ['edge/a.ts', 'export enum Colour {'],
    ['edge/a.ts', "new Worker(new URL('./worker.ts', import.meta.url))"],
    ['test/a.test.ts', "it.only('x', () => {})"],
    ['test/a.test.ts', "it.todo('x')"],
    ['edge/a.ts', '// TODO later'],
  ])('refuse, in %s: %s', (file, line) => {
    expect(textViolations(file, `/** Why. */\n${line}\n`)).toEqual([expect.stringMatching(/^2: /)])
  })

  it.each([
    ['shared/clock.ts', 'Date.now()'],
    ['shared/random.ts', 'Math.random()'],
    ['edge/a.ts', 'new Date(ms).toISOString()'],
    ['edge/a.ts', '// never Date.now() here'],
    ['edge/a.ts', 'go() // unlike setTimeout() it can be cancelled'],
    ['edge/config.ts', 'process.env'],
    ['edge/main.ts', 'process.exit(1)'],
    ['test/a.test.ts', 'await new Promise((resolve) => setTimeout(resolve, 5))'],
    ['edge/a.ts', "new Worker(workerUrl('edge/spool/worker.ts'))"],
    ['test/a.test.ts', 'only(5)'],
  ])('allow, in %s: %s', (file, line) => {
    expect(textViolations(file, `/** Why. */\n${line}\n`)).toEqual([])
  })

  it('refuse a file without its purpose, and one that is too long', () => {
    expect(textViolations('edge/a.ts', "import x from 'x'\n")).toEqual(['1: opens without its purpose'])
    expect(textViolations('edge/a.ts', lines(300))).toEqual([])
    expect(textViolations('edge/a.ts', lines(301))).toEqual([expect.stringContaining('longer than 300 lines')])
    expect(textViolations('test/a.test.ts', lines(301))).toEqual([])
  })
})
