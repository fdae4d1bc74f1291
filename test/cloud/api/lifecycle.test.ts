import { Registry as MetricsRegistry } from 'prom-client'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { startApiCore } from '../../support/api-core.ts'
import { until } from '../../support/until.ts'

test.each(['0.0.0.0', '::', '192.0.2.1', 'busbar.example'])('refuses to listen on %s', async (host) => {
  await expect(startApiCore({ host })).rejects.toMatchObject({
    code: 'API_NOT_LOOPBACK',
    hint: expect.stringContaining('127.0.0.1'),
  })
})

test.each(['127.0.0.1', 'localhost', '::1'])('listens on %s', async (host) => {
  const { api } = await startApiCore({ host })
  const shown = host.includes(':') ? `[${host}]` : host
  expect((await fetch(`http://${shown}:${api.address().port}/health/live`)).status).toBe(200)
})

test('a port in use is named with the next step', async () => {
  const { api } = await startApiCore()
  const { port } = api.address()
  await expect(startApiCore({ port })).rejects.toMatchObject({
    code: 'API_LISTEN_FAILED',
    message: expect.stringContaining(String(port)),
  })
})

test('stops quickly with open sockets, which are told that the server goes away', async () => {
  const { api, webSocketUrl, url } = await startApiCore()
  const codes: number[] = []
  for (let i = 0; i < 20; i++) {
    const socket = new WebSocket(webSocketUrl)
    await new Promise((resolve) => socket.once('open', resolve))
    socket.send(JSON.stringify({ type: 'subscribe', id: '1', channel: 'telemetry' }))
    socket.on('close', (code) => codes.push(code))
  }
  await until(() => api.stats().subscriptions === 20)
  const startedMs = performance.now()
  await api.stop(AbortSignal.timeout(5000))
  expect(performance.now() - startedMs).toBeLessThan(1000)
  await until(() => codes.length === 20)
  expect(new Set(codes)).toEqual(new Set([1001]))
  await expect(fetch(`${url}/health/live`)).rejects.toThrow()
  expect(api.stats()).toEqual({ clients: 0, subscriptions: 0, following: false })
})

test('an answer under way is finished before the stop, and the deadline cuts one that is not', async () => {
  const answers: (() => void)[] = []
  const latest = {
    latest: () => new Promise<null>((resolve) => void answers.push(() => resolve(null))),
    latestOfSite: async () => [],
  }
  const { api, url } = await startApiCore({ latest })
  const finished = fetch(`${url}/api/v1/devices/1/latest`)
  await until(() => answers.length === 1)
  const stopped = api.stop(AbortSignal.timeout(10_000))
  answers[0]?.()
  expect((await finished).status).toBe(404)
  await stopped

  const second = await startApiCore({ latest, metrics: new MetricsRegistry() })
  const cut = fetch(`${second.url}/api/v1/devices/1/latest`).then(
    () => 'answered',
    () => 'cut',
  )
  await until(() => answers.length === 2)
  const startedMs = performance.now()
  await second.api.stop(AbortSignal.timeout(200))
  expect(performance.now() - startedMs).toBeLessThan(2000)
  expect(await cut).toBe('cut')
})

test('stopping twice, or before starting, does nothing', async () => {
  const { api } = await startApiCore()
  const deadline = AbortSignal.timeout(1000)
  await Promise.all([api.stop(deadline), api.stop(deadline)])
})
