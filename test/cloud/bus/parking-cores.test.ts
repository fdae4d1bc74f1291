/** Records that are set aside, and several cores: those that share the work, and one that is killed. */

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { TASK_REQUESTED } from '../../../cloud/bus/catalogue.ts'
import { bunPath, startChild } from '../../support/child.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { embeddedBus } from '../../support/outbox-relay.ts'
import { until } from '../../support/until.ts'
import { GROUP, type Handle, record, rowsOf, SETTINGS, settled, startCore } from './support/fed-consumer.ts'

await describeOnEveryDatabase('a record that is set aside', (databases) => {
  test('is retried by one core at a time, and by another one when that dies', async () => {
    const url = await databases.freshUrl()
    const keys = Array.from({ length: 40 }, (_, n) => `key-${n}`)
    const busy = new Set<string>()
    const order = new Map<string, string[]>()
    let poison = true
    let overlaps = 0
    const handle: Handle = async (items) => {
      if (poison) throw new Error('poison')
      const inHand = [...new Set(items.map((item) => item.record.key as string))]
      for (const key of inHand) {
        if (busy.has(key)) overlaps++
        busy.add(key)
      }
      await settled(3)
      for (const key of inHand) busy.delete(key)
      for (const { record, value } of items)
        order.set(record.key as string, [...(order.get(record.key as string) ?? []), value.text])
    }
    const settings = { ...SETTINGS, retryBaseMs: 50, retries: 99 }
    const options = { settings, pollMs: 20, leaseMs: 1_500 }
    // It leases everything and then says nothing any more: to the others that is a death.
    const dead = await startCore(await databases.open({ url }), handle, options)
    await dead.deliver(...keys.flatMap((key, n) => [record(2 * n, key, '0'), record(2 * n + 1, key, '1')]))
    await dead.consumer.stop()
    await dead.parking.stop()
    const observer = await databases.open({ url })
    await observer.kysely
      .updateTable('parked_lanes')
      .set({ lease_by: 'dead', lease_until_ms: Date.now() + 500 })
      .execute()
    poison = false
    const cores = await Promise.all([1, 2].map(async () => startCore(await databases.open({ url }), handle, options)))
    // New ones keep the second core claiming while the first has something in hand.
    const [, second] = cores as [(typeof cores)[0], (typeof cores)[0]]
    let extra = 0
    await until(async () => {
      const key = `extra-${++extra}`
      const lane = JSON.stringify(key)
      const lanes = new Map([[lane, { lane, tries: 0, errorCode: null, error: null, dueAtMs: Date.now() }]])
      await second.parking.setAside(GROUP, TASK_REQUESTED, lanes, [{ lane, record: record(1_000 + extra, key, '0') }])
      return keys.every((each) => order.get(each)?.length === 2)
    })
    await until(async () => (await rowsOf(observer)).length === 0)
    expect(overlaps).toBe(0)
    expect(keys.map((key) => order.get(key))).toEqual(keys.map(() => ['0', '1']))
    expect(cores.map(({ consumer }) => consumer.stats().handled).every((count) => count > 0)).toBe(true)
  })

  test('is handled in order by the next core when the first is killed with -9 before its offsets are committed', async () => {
    const url = await databases.freshUrl()
    const dir = await mkdtemp(join(tmpdir(), 'busbar-'))
    onTestFinished(() => rm(dir, { recursive: true, force: true }))
    const file = join(dir, 'handled')
    const bus = await embeddedBus(join(dir, 'bus'))
    const values = ['bad 0', 'good 0', 'bad 1', 'good 1', 'bad 2', 'good 2']
    await bus.publish(
      TASK_REQUESTED,
      values.map((value) => ({ key: value.slice(0, -2), value })),
    )
    await bus.stop(AbortSignal.timeout(5_000))
    const processFile = new URL('../../support/parking-process.ts', import.meta.url).pathname
    const start = (how: string, onLine: (line: string) => void) => {
      return startChild({ command: [bunPath, processFile, url, join(dir, 'bus'), file, how], onLine })
    }
    let aside = 0
    const first = start('die', (line) => {
      if (line === 'set aside') aside++
    })
    const database = await databases.open({ url })
    await until(async () => aside > 0 && (await rowsOf(database)).length === 2)
    await first.kill('SIGKILL')
    expect((await rowsOf(database)).map(({ key }) => key)).toEqual(['"bad"', '"bad"'])
    const second = start('live', () => {})
    onTestFinished(async () => void (await second.kill('SIGKILL')))
    const linesOf = async (key: string) => {
      const lines = (await readFile(file, 'utf8')).split('\n')
      return lines.filter((line) => line.startsWith(key))
    }
    await until(async () => (await linesOf('bad')).includes('bad 2') && (await rowsOf(database)).length === 0)
    // What was not committed came again; nothing of a key before what stood before it.
    const bad = await linesOf('bad')
    expect([...new Set(bad)]).toEqual(['bad 0', 'bad 1', 'bad 2'])
    expect([...new Set(bad.toReversed())]).toEqual(['bad 2', 'bad 1', 'bad 0'])
    await until(async () => new Set(await linesOf('good')).size === 3)
  })
})
