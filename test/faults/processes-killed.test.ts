/** kill -9 of the edge and of the cloud at random moments under load: nothing acknowledged is lost. */

import { afterEach, describe, expect, it } from 'vitest'
import { seededRandom } from '../support/seeded-random.ts'
import { type Site, startSite } from '../support/site.ts'
import { until } from '../support/until.ts'

const SEED = Number(process.env['SEED'] ?? 20261121)
const EDGE_KILLS = 20
const CLOUD_KILLS = 8

let site: Site | null = null
afterEach(async () => {
  await site?.stop()
  site = null
})

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

describe(`processes killed at random moments (SEED=${SEED})`, () => {
  it('edge: every acknowledged reading arrives, in order', { timeout: 240_000 }, async () => {
    const random = seededRandom(SEED)
    site = await startSite({ devices: 8, intervalMs: 2 })
    for (let kill = 0; kill < EDGE_KILLS; kill++) {
      const before = site.acknowledged()
      await until(() => (site as Site).acknowledged() > before, { what: 'readings are acknowledged' })
      await pause(random.fraction() * 400)
      await site.edge.kill('SIGKILL')
      await site.edge.restart()
    }
    const { records } = await site.settle()
    expect(records).toBeGreaterThanOrEqual(site.acknowledged())
    expect(site.acknowledged()).toBeGreaterThan(EDGE_KILLS)
  })

  it('cloud: what was published and not acknowledged comes again under the same key', {
    timeout: 240_000,
  }, async () => {
    const random = seededRandom(SEED + 1)
    site = await startSite({ devices: 8, intervalMs: 2 })
    for (let kill = 0; kill < CLOUD_KILLS; kill++) {
      await until(async () => (await (site as Site).edge.status()).uplink?.connected, { what: 'the uplink is up' })
      await pause(random.fraction() * 500)
      await site.cloud.kill('SIGKILL')
      await pause(random.fraction() * 500)
      await site.cloud.restart()
    }
    const { records } = await site.settle()
    // The edge never went away, so a reading was sent to it once and has one key.
    expect(records).toBe(site.acknowledged())
  })
})
