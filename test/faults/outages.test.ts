/** Outages that a site sees: the link cut or frozen for longer than a keepalive, and a broker that dies. */

import { afterEach, describe, expect, it } from 'vitest'
import { type Site, startSite } from '../support/site.ts'
import { until } from '../support/until.ts'

/** Keepalives are 1 s apart and may take 1 s. */
const LONGER_THAN_KEEPALIVE_MS = 5_000

let site: Site | null = null
afterEach(async () => {
  await site?.stop()
  site = null
})

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function uplinkIs(connected: boolean): Promise<void> {
  await until(async () => ((await site?.edge.status())?.uplink?.connected ?? false) === connected, {
    what: `the uplink is ${connected ? 'up' : 'down'}`,
  })
}

async function arrivedOnce(): Promise<void> {
  const { records } = await (site as Site).settle()
  expect(records).toBe((site as Site).acknowledged())
}

describe('outages', { timeout: 180_000 }, () => {
  it('link cut: devices go on, and everything arrives once the link is back', async () => {
    site = await startSite({ devices: 8, intervalMs: 2 })
    await uplinkIs(true)
    await site.link.cut()
    await uplinkIs(false)
    const before = site.acknowledged()
    await pause(LONGER_THAN_KEEPALIVE_MS)
    expect(site.acknowledged()).toBeGreaterThan(before)
    expect((await site.edge.status()).spool.lanes.telemetry.records).toBeGreaterThan(0)
    await site.link.restore()
    await uplinkIs(true)
    await arrivedOnce()
  })

  it('link frozen: the keepalive sees it, and the half-open stream is replaced', async () => {
    site = await startSite({ devices: 8, intervalMs: 2 })
    await uplinkIs(true)
    site.link.freeze()
    await uplinkIs(false)
    await site.link.restore()
    await uplinkIs(true)
    await arrivedOnce()
  })

  it('cloud frozen: the edge keeps what it is told, and goes on when the cloud thaws', async () => {
    site = await startSite({ devices: 8, intervalMs: 2 })
    await uplinkIs(true)
    await site.cloud.kill('SIGSTOP')
    await uplinkIs(false)
    await site.cloud.kill('SIGCONT')
    await uplinkIs(true)
    await arrivedOnce()
  })

  it('Kafka killed and restarted: the edge keeps what Kafka did not confirm', async () => {
    site = await startSite({ devices: 8, intervalMs: 2 })
    await uplinkIs(true)
    for (let kill = 0; kill < 2; kill++) {
      await until(async () => (await (site as Site).edge.status()).uplink?.sinceLastAckMs !== null)
      await site.kafka.kill()
      const before = site.acknowledged()
      await until(() => (site as Site).acknowledged() > before, { what: 'devices are still acknowledged' })
      await pause(1_000)
      await site.kafka.restart()
    }
    await arrivedOnce()
  })
})
