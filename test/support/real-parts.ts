/** Programs that tests run for real and npm does not bring: missing ones are told loudly, and on CI they are a failure. */

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { describe } from 'vitest'

/** Program → Debian package that brings it. */
const PACKAGES = {
  mosquitto: 'mosquitto',
  mosquitto_pub: 'mosquitto-clients',
  mosquitto_sub: 'mosquitto-clients',
  kcat: 'kcat',
  strace: 'strace',
  faketime: 'faketime',
  openssl: 'openssl',
  testssl: 'testssl.sh',
  java: 'default-jre-headless',
  mvn: 'maven',
  python3: 'python3-venv',
  chromium: 'chromium',
} as const
export type RealPart = keyof typeof PACKAGES

/** Debian puts servers where an ordinary user's PATH does not look. */
const EXTRA_DIRS = ['/usr/sbin', '/usr/local/sbin']

/** Path of the program; null, with a loud note, when it is not installed. On CI it throws instead. */
export function realPart(program: RealPart): string | null {
  for (const dir of [...(process.env.PATH ?? '').split(delimiter), ...EXTRA_DIRS]) {
    const path = join(dir, program)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // The next directory may have it.
    }
  }
  const reason = `${program} is not installed: apt-get install ${PACKAGES[program]}`
  if (process.env.CI === 'true') throw new Error(reason)
  process.stderr.write(`\nSKIPPED: ${reason}\n`)
  return null
}

/** A suite that needs these programs; without them it is skipped under a title that says so. */
export function describeWith<P extends RealPart>(
  programs: readonly P[],
  title: string,
  suite: (paths: Readonly<Record<P, string>>) => void,
): void {
  const found = Object.fromEntries(programs.map((program) => [program, realPart(program)]))
  const missing = programs.filter((program) => found[program] === null)
  if (missing.length > 0) describe.skip(`${title} (skipped: no ${missing.join(', ')})`, () => suite(found as never))
  else describe(title, () => suite(found as Readonly<Record<P, string>>))
}
