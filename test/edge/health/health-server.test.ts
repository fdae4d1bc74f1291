import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HealthServer } from '../../../edge/health/health-server.ts'
import type { EdgeStatus } from '../../../edge/health/status.ts'
import { silentLogger } from '../../../shared/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { type TestSources, testSources } from './sources.ts'

let sources: TestSources
let clock: ManualClock
let server: HealthServer

beforeEach(async () => {
  sources = testSources()
  clock = new ManualClock()
  server = new HealthServer({
    host: '127.0.0.1',
    port: 0,
    gatewayId: 'gateway-1',
    version: '1.2.3',
    spoolBytesMax: 100_000,
    diskFreeBytesMin: 1_000,
    sources,
    clock,
    log: silentLogger,
  })
  await server.start()
})

afterEach(() => server.stop())

function get(path: string, method = 'GET'): Promise<Response> {
  return fetch(`http://127.0.0.1:${server.port}${path}`, { method })
}

async function status(): Promise<EdgeStatus> {
  return (await (await get('/status')).json()) as EdgeStatus
}

describe('the health of the edge', () => {
  it('is live as long as it answers', async () => {
    sources.set.failing = 'EIO'
    expect((await get('/health/live')).status).toBe(200)
  })

  it('is ready while it can take and keep, offline or not', async () => {
    expect((await get('/health/ready')).status).toBe(200)
    sources.set.connected = false
    const response = await get('/health/ready')
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({ status: 'up', reasons: [], uplink: 'offline', certificate: 'good' })
  })

  it.each([
    ['the spool fails', { failing: 'ENOSPC' }, 'cannot store: ENOSPC'],
    ['the disk is behind', { accepting: false }, 'the disk is behind; devices wait'],
    ['a listener is down', { listening: false }, 'not listening for tcp on 127.0.0.1:1883'],
  ])('is not ready when %s, and says so', async (_what, change, reason) => {
    Object.assign(sources.set, change)
    const response = await get('/health/ready')
    expect(response.status).toBe(503)
    expect(await response.json()).toMatchObject({ status: 'down', reasons: [{ reason }] })
  })

  it('tells the lag by the age of the oldest record, which a stepped clock cannot make negative', async () => {
    sources.set.oldestWallMs = clock.wallMs()
    clock.advance(4_000)
    expect((await status()).spool.lanes.telemetry.lagMs).toBe(4_000)
    clock.stepWall(-3_600_000)
    expect((await status()).spool.lanes.telemetry.lagMs).toBe(0)
  })

  it('tells the time to full from the growth of the last minute', async () => {
    expect((await status()).spool.timeToFullMs).toBeNull()
    clock.advance(10_000)
    sources.set.telemetryBytes = 2_000
    expect((await status()).spool).toMatchObject({ growthBytesPerSecond: 100, timeToFullMs: 980_000 })
  })

  it('takes the disk for full before the spool when less is free', async () => {
    clock.advance(10_000)
    sources.set.telemetryBytes = 2_000
    sources.set.diskFreeBytes = 3_000
    expect((await status()).spool.timeToFullMs).toBe(20_000)
  })

  it('gives no time to full while the spool drains', async () => {
    clock.advance(10_000)
    sources.set.telemetryBytes = 500
    expect((await status()).spool).toMatchObject({ growthBytesPerSecond: -50, timeToFullMs: null })
  })

  it('forgets growth that is more than a minute old', async () => {
    sources.set.telemetryBytes = 50_000
    clock.advance(120_000)
    expect((await status()).spool.growthBytesPerSecond).toBe(0)
  })

  it('names gateway, link and devices in the status', async () => {
    expect(await status()).toMatchObject({
      gatewayId: 'gateway-1',
      version: '1.2.3',
      uplink: { state: 'streaming', connected: true, sinceLastAckMs: null },
      devices: [{ siteId: 1, serialNumber: 'INV-001', connected: true }],
    })
  })

  it('exports metrics with units in their names', async () => {
    sources.set.oldestWallMs = clock.wallMs() - 1_500
    const text = await (await get('/metrics')).text()
    expect(text).toContain('busbar_edge_spool_records{lane="telemetry"} 12')
    expect(text).toContain('busbar_edge_spool_lag_seconds{lane="telemetry"} 1.5')
    expect(text).toContain('busbar_edge_spool_evicted_records_total{reason="bytes"} 3')
    expect(text).toContain('busbar_edge_spool_time_to_full_seconds +Inf')
    expect(text).toContain('busbar_edge_mqtt_refused_total{reason="bad-credentials"} 6')
    expect(text).toContain('busbar_edge_uplink_acknowledged_records_total 27')
    expect(text).toContain('process_resident_memory_bytes')
  })

  it('counts the same the second time it is asked', async () => {
    await get('/metrics')
    expect(await (await get('/metrics')).text()).toContain('busbar_edge_spool_appended_records_total 40')
  })

  it('answers nothing else', async () => {
    expect((await get('/')).status).toBe(404)
    expect((await get('/status', 'POST')).status).toBe(404)
  })

  it('starts and stops twice without harm', async () => {
    await server.start()
    await server.stop()
    await server.stop()
    await expect(get('/status')).rejects.toThrow()
  })

  it('says which port is taken', async () => {
    const second = new HealthServer({ ...server['options'], port: server.port })
    await expect(second.start()).rejects.toMatchObject({ code: 'LISTEN_FAILED' })
  })
})
