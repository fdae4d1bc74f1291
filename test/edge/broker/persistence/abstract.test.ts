import { expect, test } from 'vitest'

/** What aedes-persistence 11.0.0 publishes. */
const PUBLISHED_TESTS = 50

test('durable sessions pass the whole suite that aedes-persistence publishes', async () => {
  const program = new URL('./abstract-suite.ts', import.meta.url).pathname
  const child = Bun.spawn([process.execPath, program], { stdout: 'pipe', stderr: 'inherit' })
  const lines = (await new Response(child.stdout).text()).trim().split('\n')
  expect(await child.exited, lines.join('\n')).toBe(0)
  expect(JSON.parse(lines.at(-1) ?? '{}')).toEqual({ passed: PUBLISHED_TESTS, failed: 0 })
})
