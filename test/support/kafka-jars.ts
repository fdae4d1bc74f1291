/** The jars of a real Kafka, fetched once from Maven Central into .cache and shared by every test run. */

import { execFile, execFileSync } from 'node:child_process'
import { existsSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { madeOnce } from './made-once.ts'

const ROOT = new URL('../..', import.meta.url).pathname
const CACHE = join(ROOT, '.cache')
const JARS = join(CACHE, 'kafka-libs')
const POM = join(ROOT, 'test/support/kafka/pom.xml')
const MARK = 'kafka-clients-4.3.1.jar'

/** Why no broker can be started here, or null when one can. */
export function kafkaMissing(): string | null {
  if (process.env.KAFKA_BROKERS !== undefined) return null
  if (!runs('java', ['-version'])) return 'java is not installed (Debian: openjdk-17-jre-headless)'
  if (!existsSync(join(JARS, MARK)) && !runs('mvn', ['-v'])) return 'mvn is not installed (Debian: maven)'
  return null
}

/** Directory of the jars; downloads them when they are not there. Safe when several runs begin at once. */
export async function kafkaJars(): Promise<string> {
  await madeOnce(join(JARS, MARK), download, join(CACHE, 'kafka-libs.lock'))
  return JARS
}

async function download(): Promise<void> {
  const fresh = `${JARS}-${process.pid}`
  await promisify(execFile)('mvn', [
    '-q',
    '-B',
    '-f',
    POM,
    'dependency:copy-dependencies',
    `-DoutputDirectory=${fresh}`,
  ])
  rmSync(JARS, { recursive: true, force: true })
  renameSync(fresh, JARS)
}

function runs(command: string, args: string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
