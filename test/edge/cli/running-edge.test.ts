import { rm } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { EdgeStatus } from '../../../edge/health/status.ts'
import { busbar } from '../../support/command.ts'
import { type EdgeProcess, startEdge } from '../../support/edge-process.ts'

let edge: EdgeProcess

beforeAll(async () => {
  edge = await startEdge({ gatewayId: 'gateway-7', devices: [{ siteId: 1, serialNumber: 'INV-001' }] })
})

afterAll(async () => {
  await edge.kill('SIGKILL')
  await rm(edge.dir, { recursive: true, force: true })
})

describe('beside a running edge', () => {
  it('status shows queue, link and listeners, for people and for programs', async () => {
    const shown = await busbar('edge', ['status', '--config', edge.configPath])
    expect(shown.code).toBe(0)
    expect(shown.stdout).toMatch(/^gateway {2}gateway-7, .*ready$/m)
    expect(shown.stdout).toMatch(/^uplink {3}disabled/m)
    expect(shown.stdout).toMatch(/^telemetry\t0\t0 B\t-$/m)

    const json = await busbar('edge', ['status', '--config', edge.configPath, '--json'])
    const status = JSON.parse(json.stdout) as EdgeStatus
    expect(status).toMatchObject({ gatewayId: 'gateway-7', readiness: { ready: true }, uplink: null })
    expect(status.broker.listeners).toEqual([{ kind: 'tcp', host: '127.0.0.1', port: edge.mqttPort, listening: true }])
  })

  it('doctor knows its ports as held by it', async () => {
    const { code, stdout } = await busbar('edge', ['doctor', '--config', edge.configPath])
    expect(stdout).toContain(`ok    mqtt-tcp: the running edge answers on 127.0.0.1:${edge.mqttPort}`)
    expect(stdout).toContain('is held by the running edge')
    expect(stdout).toContain('1 devices and 0 others can log in')
    expect(code).toBe(0)
  })

  it('doctor of another gateway says who holds its ports', async () => {
    const env = { BUSBAR_EDGE_GATEWAY_ID: 'gateway-8' }
    const { code, stdout } = await busbar('edge', ['doctor', '--config', edge.configPath], { env })
    expect(stdout).toContain(`FAIL  mqtt-tcp: 127.0.0.1:${edge.mqttPort} is held by the edge of gateway gateway-7`)
    expect(code).toBe(1)
  })

  it('a second edge on the same port says so and exits 1', async () => {
    const env = { BUSBAR_EDGE_GATEWAY_DATA_DIR: `${edge.dir}/second`, BUSBAR_EDGE_HEALTH_PORT: '0' }
    const { code, stderr } = await busbar('edge', ['run', '--config', edge.configPath], { env })
    expect(code).toBe(1)
    expect(stderr).toMatch(/error \w+: .*\d+/)
    expect(stderr).toMatch(/^next: /m)
  })
})

describe('an edge that is told to stop', () => {
  it('exits 0 on SIGTERM and leaves nothing behind that keeps it from starting again', async () => {
    const stopped = await startEdge()
    try {
      expect(await stopped.stop()).toEqual({ code: 0, signal: null })
      await stopped.restart()
      expect(await stopped.stop()).toEqual({ code: 0, signal: null })
    } finally {
      await rm(stopped.dir, { recursive: true, force: true })
    }
  })
})
