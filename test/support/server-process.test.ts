import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { bunPath } from './child.ts'
import { freePort } from './free-port.ts'
import { type ServerProcess, startServer } from './server-process.ts'
import { tempDir } from './temp-dir.ts'

/** Answers with its pid, or fails at once when its config says so. */
const PROGRAM = `
  const config = Bun.TOML.parse(await Bun.file(process.argv[2]).text())
  if (config.fails) { console.error('no such thing'); process.exit(78) }
  Bun.serve({ port: config.port, fetch: () => new Response(String(process.pid)) })
  console.log('serving', config.nested.name)
`

async function server(config: { fails?: boolean } = {}): Promise<{ url: string; start: () => Promise<ServerProcess> }> {
  const dir = await tempDir()
  const program = join(dir, 'program.ts')
  writeFileSync(program, PROGRAM)
  const port = await freePort()
  const url = `http://127.0.0.1:${port}/`
  const start = async (): Promise<ServerProcess> => {
    const started = await startServer({
      command: [bunPath, program],
      configPath: join(dir, 'config.toml'),
      config: { port, nested: { name: 'a "name"' }, ...config },
      readyUrl: url,
    })
    onTestFinished(async () => void (await started.kill('SIGKILL')))
    return started
  }
  return { url, start }
}

test('is ready when it answers, and keeps what it wrote', async () => {
  const { url, start } = await server()
  const running = await start()
  expect(await (await fetch(url)).text()).toBe(String(running.pid))
  expect(running.logs()).toContain('serving a "name"')
})

test('tells how it was killed, and starts again on the same port', async () => {
  const { url, start } = await server()
  const running = await start()
  const before = running.pid
  expect(await running.kill('SIGKILL')).toEqual({ code: null, signal: 'SIGKILL' })
  expect(running.running).toBe(false)
  await running.restart()
  expect(running.pid).not.toBe(before)
  expect(await (await fetch(url)).text()).toBe(String(running.pid))
  expect(running.logs().match(/serving/g)).toHaveLength(2)
})

test('a process that ends before it is ready is an error with its words', async () => {
  const { start } = await server({ fails: true })
  await expect(start()).rejects.toThrow(/ended with 78[\s\S]*no such thing/)
})
