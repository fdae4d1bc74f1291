import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { bunPath, projectDir, startChild } from '../support/child.ts'
import { tempDir } from '../support/temp-dir.ts'

/** What a process writes that logs so, in both forms. */
async function logged(statements: string): Promise<string> {
  const file = join(await tempDir(), 'logs.ts')
  writeFileSync(
    file,
    `import { createLogger } from '${projectDir}/shared/log.ts'
for (const format of ['json', 'pretty']) {
  const log = createLogger({ level: 'info', format, name: 'test' })
  ${statements}
}`,
  )
  const child = startChild({ command: [bunPath, file] })
  await child.exited
  return child.output()
}

it('says of an error what happened, and nothing that a driver hung on it', async () => {
  const output = await logged(`
    const error = Object.assign(new Error('connection refused'), {
      code: 'ECONNREFUSED',
      config: { user: 'busbar', password: 'hunter2-a' },
      request: { sasl: { secret: 'hunter2-b' } },
      cause: Object.assign(new Error('inner'), { connectionString: 'postgres://u:hunter2-c@h/d' }),
    })
    log.error(error)
    log.error({ error }, 'a')
    log.warn({ err: error, reason: error, cause: error }, 'b')
    log.warn({ failures: [error], last: { of: { broker: error } }, at: new Date(0), thrown: error }, 'c')`)
  expect(output.match(/connection refused/g)?.length).toBeGreaterThanOrEqual(14)
  expect(output).toContain('1970-01-01T00:00:00.000Z')
  expect(output).toContain('ECONNREFUSED')
  expect(output).not.toContain('hunter2')
})

it('hides what is under the name of a secret', async () => {
  const output = await logged(`
    log.info({ password: 'hunter2-a', sasl: { username: 'busbar', password: 'hunter2-b' } }, 'a')
    log.info({ options: { database: { connectionString: 'hunter2-c' } } }, 'b')
    log.info({ request: { headers: { authorization: 'Bearer hunter2-d', cookie: 'hunter2-e' } } }, 'c')
    log.child({ secret: 'hunter2-f' }).info('d')`)
  expect(output).toContain('busbar')
  expect(output).toContain('(hidden)')
  expect(output).not.toContain('hunter2')
})
