/** Consumers that die, share their group, or lose the database: each alert once, each notice once. */

import { expect, test } from 'vitest'
import type { BusRecord } from '../../../cloud/bus/bus.ts'
import { DEVICE_TELEMETRY } from '../../../cloud/bus/catalogue.ts'
import { HOT, startBus } from '../../support/alert-core.ts'
import { bunPath, startChild } from '../../support/child.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { type StartedAlerts, startAlerts, T0, temp, tempDir } from '../../support/started-alerts.ts'
import { until } from '../../support/until.ts'

const never = new AbortController().signal

/** Readings of `devices` devices that take turns in being hot and cool, `turns` times, five readings a turn. */
function turns(devices: number, count: number, from = 0): BusRecord[] {
  return Array.from({ length: count * 5 }, (_, i) => i).flatMap((i) =>
    Array.from({ length: devices }, (_, device) =>
      temp(device + 1, from * 5 + i, (from + Math.floor(i / 5)) % 2 === 0 ? 90 : 20),
    ),
  )
}

/** Every alert and every notice of `turns`, each once. */
async function expectEachOnce(core: StartedAlerts, devices: number, count: number): Promise<void> {
  const rows = await core.database.kysely
    .selectFrom('alerts')
    .select(['device_id', 'opened_at_ms', 'closed_at_ms'])
    .execute()
  const shown = rows.map((row) => `${row.device_id} ${row.opened_at_ms} ${row.closed_at_ms}`).toSorted()
  const expected = Array.from({ length: devices }, (_, device) => device + 1).flatMap((device) =>
    Array.from({ length: count / 2 }, (_, i) => `${device} ${T0 + i * 10_000} ${T0 + i * 10_000 + 5_000}`),
  )
  expect(shown).toEqual(expected.toSorted())
  expect((await core.told()).length).toBe(rows.length * 2)
}

await describeOnEveryDatabase('alert evaluation', (databases) => {
  test('killed with -9 in mid-batch loses no alert and tells none twice', { timeout: 60_000 }, async () => {
    const [url, dir] = [await databases.freshUrl(), await tempDir()]
    const setUp = await startAlerts(databases, { url })
    await setUp.rules.create(HOT)
    await setUp.stop()
    const [devices, count] = [5, 400]
    const feed = await startBus(dir)
    const records = turns(devices, count)
    for (let i = 0; i < records.length; i += 500) await feed.publish(DEVICE_TELEMETRY, records.slice(i, i + 500))
    await feed.stop(never)
    const path = new URL('../../support/alert-core.ts', import.meta.url).pathname
    // Within its first transactions, of which a core has up to one a partition at once, and after some were committed.
    for (const [storing, delayMs] of [
      [1, 0],
      [5, 5],
      [4, 20],
    ] as const) {
      let seen = 0
      const core = startChild({
        command: [bunPath, path, dir, url],
        onLine: (line) => {
          if (line === 'storing') seen++
        },
      })
      await until(() => seen >= storing || core.exit !== null, { what: 'the core stores alerts', pollMs: 1 })
      await new Promise((resolve) => setTimeout(resolve, delayMs))
      expect(core.exit, core.output()).toBe(null)
      await core.kill('SIGKILL')
    }
    const bus = await startBus(dir)
    const left = await databases.open({ url })
    const stored = await left.kysely.selectFrom('alerts').select('id').execute()
    expect(stored.length).toBeGreaterThan(0)
    expect(stored.length).toBeLessThan((devices * count) / 2)
    const heir = await startAlerts(databases, { url, bus })
    const open = async () => (await heir.alerts.list({ state: 'OPEN' })).items.length
    const alerts = () => heir.database.kysely.selectFrom('alerts').select('id').execute()
    await until(async () => (await alerts()).length === (devices * count) / 2 && (await open()) === 0)
    await heir.stop()
    await bus.stop(never)
    await expectEachOnce(heir, devices, count)
  })

  if (databases.postgres !== null) {
    const { postgres } = databases
    test('shared by two cores, one of which comes and goes, finds each alert once', { timeout: 60_000 }, async () => {
      const url = await databases.freshUrl()
      const core = await startAlerts(databases, { url })
      await core.rules.create(HOT)
      const [devices, count, parts] = [5, 20, 6]
      for (let part = 0; part < parts; part++) {
        const other = await startAlerts(databases, { url, bus: core.bus })
        // While it goes, its partitions come back with whatever it had not committed.
        const going = core.send(...turns(devices, count, part * count))
        await until(() => other.evaluation.stats().consumer.handled > 0)
        await other.stop()
        await going
      }
      const alerts = () =>
        core.database.kysely.selectFrom('alerts').select('id').where('closed_at_ms', 'is not', null).execute()
      await until(async () => (await alerts()).length === (devices * count * parts) / 2)
      await expectEachOnce(core, devices, count * parts)
    })

    test('waits for a database that is away, and then catches up', { timeout: 60_000 }, async () => {
      const core = await startAlerts(databases)
      await core.rules.create(HOT)
      await core.send(...turns(5, 3))
      await core.settled()
      await postgres.kill()
      await core.send(...turns(5, 7, 3))
      await until(() => core.evaluation.stats().consumer.failing !== null)
      await postgres.restart()
      await core.settled()
      expect(core.evaluation.stats().consumer).toMatchObject({ failing: null, deadLettered: {} })
      await expectEachOnce(core, 5, 10)
    })
  }
})
