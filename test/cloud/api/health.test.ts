import { expect, test } from 'vitest'
import type { DependencyHealth } from '../../../cloud/bus/bus.ts'
import { startApiCore } from '../../support/api-core.ts'
import { getJson } from '../../support/json-request.ts'

async function get(url: string) {
  const { status, body } = await getJson(url)
  return { status, body }
}

test('a core with everything it needs is live and ready', async () => {
  const { url } = await startApiCore()
  expect(await get(`${url}/health/live`)).toEqual({ status: 200, body: { status: 'live', version: '0.0.0-test' } })
  expect(await get(`${url}/health/ready`)).toEqual({
    status: 200,
    body: {
      status: 'ready',
      dependencies: [
        { name: 'database', state: 'up', required: true },
        { name: 'bus', state: 'up', required: true },
      ],
    },
  })
})

test('a dependency that is down makes the core not ready, one that it can do without does not', async () => {
  let state: DependencyHealth = { state: 'up' }
  const dependencies = [
    { name: 'bus', health: () => state },
    { name: 'mail', health: (): DependencyHealth => ({ state: 'down', detail: 'no route' }), required: false },
  ]
  const { url } = await startApiCore({ dependencies })
  expect((await get(`${url}/health/ready`)).status).toBe(200)
  state = { state: 'degraded', detail: 'the breaker is half open' }
  expect((await get(`${url}/health/ready`)).status).toBe(200)
  state = { state: 'down', detail: 'no broker answers' }
  const answer = await get(`${url}/health/ready`)
  expect(answer.status).toBe(503)
  expect(answer.body).toEqual({
    status: 'not-ready',
    dependencies: [
      { name: 'bus', state: 'down', required: true, detail: 'no broker answers' },
      { name: 'mail', state: 'down', required: false, detail: 'no route' },
    ],
  })
  expect((await get(`${url}/health/live`)).status).toBe(200)
})

test('a dependency that fails to tell, or does not answer in time, is down', async () => {
  const dependencies = [
    { name: 'silent', health: () => new Promise<DependencyHealth>(() => undefined) },
    {
      name: 'broken',
      health: (): DependencyHealth => {
        throw new Error('no file')
      },
    },
  ]
  const { url } = await startApiCore({ dependencies, limits: { healthTimeoutMs: 50 } })
  const { body } = await get(`${url}/health/ready`)
  expect(body.dependencies).toEqual([
    { name: 'silent', state: 'down', required: true, detail: 'no answer within 50 ms' },
    { name: 'broken', state: 'down', required: true, detail: 'no file' },
  ])
})

test('metrics are in the text format of Prometheus and count requests by route', async () => {
  const { url } = await startApiCore()
  await fetch(`${url}/api/v1/sites/5`)
  await fetch(`${url}/nothing`)
  const response = await fetch(`${url}/metrics`)
  expect(response.headers.get('content-type')).toMatch(/^text\/plain/)
  const text = await response.text()
  expect(text).toContain('busbar_api_requests_total{method="GET",route="/api/v1/sites/:id",status="404"} 1')
  expect(text).toContain('busbar_api_requests_total{method="GET",route="unmatched",status="404"} 1')
  expect(text).toContain('busbar_api_websocket_clients 0')
})
