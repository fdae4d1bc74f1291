import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { bunPath, type Child, projectDir, startChild } from '../../support/child.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'

/** A server of three lines, in a process of its own: signals and faults are about whole processes. */
async function server(body: { start?: string; stop?: string }): Promise<Child> {
  const file = join(await tempDir(), 'server.ts')
  writeFileSync(
    file,
    `import { runUntilSignal } from '${projectDir}/shared/cli/run-until-signal.ts'
import { createLogger } from '${projectDir}/shared/log.ts'
const hold = setInterval(() => {}, 1000)
const program = {
  start: async () => { ${body.start ?? ''}; process.stdout.write('started') },
  stop: async () => { ${body.stop ?? 'return true'} },
}
process.exit(await runUntilSignal(program, createLogger({ level: 'info', format: 'json', name: 'server' })))
`,
  )
  const child = startChild({ command: [bunPath, file] })
  await until(() => child.output().includes('started') || child.exit !== null, { what: 'server started' })
  return child
}

describe('a server process', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('exits 0 when it stopped in time after %s', async (signal) => {
    const child = await server({})
    expect(await child.kill(signal)).toEqual({ code: 0, signal: null })
    expect(child.output()).toContain('"msg":"stopped"')
  })

  it('exits 1 when parts had to be let go', async () => {
    const child = await server({ stop: 'return false' })
    expect((await child.kill('SIGTERM'))?.code).toBe(1)
    expect(child.output()).toContain('shutdown.timeoutMs')
  })

  it('exits 1 at once on a second signal', async () => {
    const child = await server({ stop: 'return new Promise(() => {})' })
    const first = child.kill('SIGTERM')
    await until(() => child.output().includes('"msg":"stopping"'))
    await child.kill('SIGTERM')
    expect((await first)?.code).toBe(1)
  })

  it.each([
    ['an exception', 'setTimeout(() => { throw new Error("boom") }, 20)'],
    ['a rejection', 'setTimeout(() => { Promise.reject(new Error("boom")) }, 20)'],
  ])('exits 70 on %s that nobody caught, having logged it', async (_what, start) => {
    const child = await server({ start })
    expect((await child.exited).code).toBe(70)
    expect(child.output()).toMatch(/"level":60.*boom/)
  })
})
