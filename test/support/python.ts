/** Tests that run Python: skipped loudly where there is none, a failure on CI. */

import { execFileSync } from 'node:child_process'
import { describe } from 'vitest'
import { realPart } from './real-parts.ts'

/** A suite that gets the path of a python3 that can make virtual environments. */
export function describePython(title: string, suite: (python3: string) => void): void {
  const python3 = realPart('python3')
  const missing = python3 === null ? 'no python3' : withoutVenv(python3)
  if (missing === null) describe(title, () => suite(python3 as string))
  else describe.skip(`${title} (skipped: ${missing})`, () => suite(''))
}

/** Why it cannot make a virtual environment; null when it can. */
function withoutVenv(python3: string): string | null {
  try {
    execFileSync(python3, ['-c', 'import ensurepip, venv'], { stdio: 'ignore' })
    return null
  } catch {
    const reason = 'python3 cannot make a virtual environment: apt-get install python3-venv'
    if (process.env.CI === 'true') throw new Error(reason)
    process.stderr.write(`\nSKIPPED: ${reason}\n`)
    return reason
  }
}
