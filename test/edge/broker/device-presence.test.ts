import { cp } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { BrokerCounters } from '../../../edge/broker/counters.ts'
import { DeviceDirectory } from '../../../edge/broker/device-directory.ts'
import { DevicePresence } from '../../../edge/broker/device-presence.ts'
import { loadSessions } from '../../../edge/broker/persistence/open-sessions.ts'
import { silentLogger } from '../../../shared/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'
import { MemoryLog } from './support/memory-log.ts'
import { type Login, type Site, startSite, stopBroker } from './support/site.ts'

const STATUS = 'sites/1/devices/INV-001/status'
const ONLINE = '{"status":"ONLINE","reason":"device connected"}'
const NOT_BACK = '{"status":"OFFLINE","reason":"not back after a restart of the gateway"}'

async function siteWithDevice(): Promise<{ site: Site; login: Login }> {
  const site = await startSite({ insecure: false })
  return { site, login: site.login({ role: 'device', siteId: 1, serialNumber: 'INV-001' }) }
}

/** A gateway on what is on disk now, as after a power cut; it gives devices a moment to return. */
async function afterPowerCut(site: Site): Promise<Site> {
  const dir = await until(async () => {
    const copy = await tempDir()
    // The rollback journal may go away while it is copied.
    const copied = await cp(site.dir, copy, { recursive: true }).then(
      () => true,
      () => false,
    )
    return copied && loadSessions(copy, silentLogger).present.length === 1 ? copy : null
  })
  return startSite({ dir, insecure: false, limits: { willGraceMs: 200 } })
}

describe('a device that was connected when the gateway died', () => {
  test('is OFFLINE when it does not return', async () => {
    const { site, login } = await siteWithDevice()
    await site.client(login)
    const next = await afterPowerCut(site)
    await until(() => next.log.of(STATUS).length === 1)
    expect(next.log.of(STATUS)).toEqual([NOT_BACK])
    expect(next.broker.devices()).toMatchObject([{ serialNumber: 'INV-001', connected: false, status: 'OFFLINE' }])
    // Once: the run after that has nothing to say of it.
    await stopBroker(next.broker)
    expect(loadSessions(next.dir, silentLogger).present).toEqual([])
  })

  test('is not when it returns, or speaks by its will', async () => {
    const { site, login } = await siteWithDevice()
    const payload = '{"status":"MAINTENANCE","reason":"unplugged"}'
    const will = { topic: STATUS, payload: Buffer.from(payload), qos: 1, retain: false } as const
    await site.client({ ...login, clientId: 'd', will })
    const returned = await afterPowerCut(site)
    await returned.client({ ...login, clientId: 'd' })
    const away = await afterPowerCut(site)
    await until(() => away.log.of(STATUS).length > 0)
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(away.log.of(STATUS)).toEqual([payload])
    expect(returned.log.of(STATUS)).toEqual([ONLINE])
  })

  test('is OFFLINE, too, after the gateway was stopped in order; one that had left says nothing more', async () => {
    const { site, login } = await siteWithDevice()
    await site.client(login)
    const gone = site.login({ role: 'device', siteId: 1, serialNumber: 'GONE' })
    await (await site.client(gone)).endAsync()
    await until(() => site.log.of('sites/1/devices/GONE/status').length === 2)
    await stopBroker(site.broker)
    const next = await startSite({ dir: site.dir, limits: { willGraceMs: 200 } })
    await until(() => next.log.records.length > 0)
    expect(next.log.records).toEqual([{ lane: 'priority', topic: STATUS, payload: NOT_BACK }])
  })
})

describe('what is stored of presence', () => {
  const device = { siteId: 1, serialNumber: 'INV-001' }

  function presence() {
    const clock = new ManualClock()
    const log = new MemoryLog()
    const changes: string[] = []
    const directory = new DeviceDirectory({ log, devicesMax: 10, clock, counters: new BrokerCounters() })
    const journal = { append: ({ kind }: { kind: string }) => void changes.push(kind) }
    return { clock, changes, presence: new DevicePresence({ journal, directory, graceMs: 1000, clock }) }
  }

  test('is not written again by a device that flaps', () => {
    const { clock, changes, presence: known } = presence()
    known.start([])
    for (let i = 0; i < 10; i++) {
      known.arrived(device)
      clock.advance(3000)
      known.departed(device)
      clock.advance(3000)
    }
    expect(changes).toEqual(['present'])
    clock.advance(20_000)
    expect(changes).toEqual(['present', 'absent'])
  })

  test('is kept for those that are here when the gateway stops', () => {
    const { changes, presence: known } = presence()
    known.start([])
    known.arrived(device)
    known.arrived({ siteId: 1, serialNumber: 'GONE' })
    known.departed({ siteId: 1, serialNumber: 'GONE' })
    known.stop()
    expect(changes).toEqual(['present', 'present', 'absent'])
  })
})
