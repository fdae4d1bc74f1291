/** The program of a real schema registry, fetched once from Maven Central into .cache and shared by every test run. */

import { execFile } from 'node:child_process'
import { existsSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { projectDir } from './child.ts'
import { madeOnce } from './made-once.ts'
import { realPart } from './real-parts.ts'

const VERSION = '3.0.9'
const CACHE = join(projectDir, '.cache')
const PROGRAM = join(CACHE, `apicurio-${VERSION}`)
const POM = join(projectDir, 'test/support/schema-registry/pom.xml')
const JAR = join(PROGRAM, `apicurio-registry-app-${VERSION}-runner.jar`)

/** Why no registry can be started here, or null when one can. */
export function registryMissing(): string | null {
  if (realPart('java') === null) return 'no java'
  return !existsSync(JAR) && realPart('mvn') === null ? 'no mvn' : null
}

/** Path of the jar; downloads it with its libraries when it is not there. Safe when several runs begin at once. */
export async function registryJar(): Promise<string> {
  await madeOnce(JAR, download, join(CACHE, 'apicurio.lock'))
  return JAR
}

async function download(): Promise<void> {
  const fresh = `${PROGRAM}-${process.pid}`
  await promisify(execFile)('mvn', ['-q', '-B', '-f', POM, 'dependency:unpack', `-DoutputDirectory=${fresh}`])
  rmSync(PROGRAM, { recursive: true, force: true })
  renameSync(fresh, PROGRAM)
}
