/** A virtual environment with what the Python tests need, made once into node_modules/.cache. */

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { projectDir } from './child.ts'
import { madeOnce } from './made-once.ts'

const run = promisify(execFile)

/** What the published examples ask for, as their readers install it. */
const EXAMPLES = join(projectDir, 'proto/examples/requirements.txt')
/** What only the tests need besides. */
const ONLY_TESTS = ['fastavro==1.13.1', 'schemathesis==4.32.5', 'cyclonedx-python-lib[json-validation]==11.12.0']

/** Path of a Python that has the packages. @param python3 the one to make the environment with. */
export async function pythonEnvironment(python3: string): Promise<string> {
  const { stdout: version } = await run(python3, ['--version'])
  const wanted = [version, readFileSync(EXAMPLES, 'utf8'), ...ONLY_TESTS].join('\n')
  const name = `python-${createHash('sha256').update(wanted).digest('hex').slice(0, 12)}`
  const dir = join(projectDir, 'node_modules/.cache', name)
  const python = join(dir, 'bin/python')
  const mark = join(dir, 'complete')
  await madeOnce(
    mark,
    async () => {
      await rm(dir, { recursive: true, force: true })
      await run(python3, ['-m', 'venv', dir])
      await run(python, ['-m', 'pip', 'install', '--quiet', '--requirement', EXAMPLES, ...ONLY_TESTS])
      writeFileSync(mark, wanted)
    },
    `${dir}.lock`,
  )
  return python
}
