/**
 * The activity log of one core without Kafka and PostgreSQL: thousands of activities and some poison wait on its bus, it is
 * killed -9 in the middle of them, and it takes more over REST. The same holds as on Kafka (test/faults/activity.test.ts).
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { activityValue } from '../support/activity-values.ts'
import { startBus } from '../support/analytics-core.ts'
import { type CloudProcess, startCloud } from '../support/cloud-process.ts'
import { busbar } from '../support/command.ts'
import { type AnyJson, getJson, sendJson } from '../support/json-request.ts'
import { consecutive, type StoredActivities, storedActivities } from '../support/stored-activities.ts'
import { until } from '../support/until.ts'

const LOGS = 'user-activity-logs'
const USERS = ['ada', 'bea', 'cyd']
const EACH = 2_000
const LATER = activityValue('ada', 0, { eventId: 'evt_later', activityType: 'switching_order_signed' })

describe('the activity log on the embedded bus', () => {
  let dir: string
  let core: CloudProcess
  let stored: StoredActivities
  let storedWhenKilled: number

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'busbar-'))
    const bus = await startBus(join(dir, 'bus'))
    const numbered = consecutive(EACH).flatMap((n) => USERS.map((userId) => activityValue(userId, n)))
    const twice = numbered.slice(100, 200)
    const values = [...numbered.slice(0, 200), ...twice, ...numbered.slice(200), LATER]
    const headers = { source: 'billing', timestamp: LATER.timestamp }
    const records = values.map((value) => ({ key: value.userId, value: JSON.stringify(value), headers }))
    await bus.publish(LOGS, [{ key: 'bea', value: 'no JSON at all', headers }, ...records])
    await bus.stop(new AbortController().signal)

    core = await startCloud({ dir })
    stored = await storedActivities(`sqlite:${join(dir, 'busbar.db')}`)
    await stored.reaches(1)
    await core.kill('SIGKILL')
    storedWhenKilled = await stored.count()
    await core.restart()
  })
  afterAll(async () => {
    await stored?.close()
    if (core?.running) await core.kill('SIGKILL')
    await rm(dir, { recursive: true, force: true })
  })

  it('stores every activity once, in order within its user, over a kill -9', async () => {
    await stored.reaches(EACH * USERS.length)
    const numbers = await stored.numbers()
    for (const userId of USERS) expect(numbers.get(userId), userId).toEqual(consecutive(EACH))
    expect(await stored.windowed()).toEqual(new Map(USERS.map((userId) => [userId, EACH])))
    expect(storedWhenKilled).toBeLessThan(EACH * USERS.length)
  })

  it('takes a batch over REST and shows it to who asks for its user', async () => {
    const activities = [0, 1, 2].map((n) => ({
      userId: 'rob',
      activityType: 'export',
      metadata: { n, ipAddress: '10.1.2.3' },
      objectType: 'site',
      objectId: '7',
    }))
    const { status, body } = await sendJson(`${core.apiUrl}/api/v1/activities`, 'POST', { activities })
    expect({ status, count: new Set(body.eventIds).size }).toEqual({ status: 202, count: 3 })
    const items: AnyJson[] = await until(async () => {
      const page = await getJson(`${core.apiUrl}/api/v1/activities?userId=rob`)
      return page.body.items.length === 3 ? page.body.items : null
    })
    expect(items.map(({ eventId }) => eventId).sort()).toEqual([...body.eventIds].sort())
    expect(items[0]).toMatchObject({ objectId: '7', metadata: { ipAddress: '10.1.2.3' } })
  })

  it('lists what is poison, and replays what the config knows by now', async () => {
    const letters: AnyJson[] = await until(async () => {
      const { body } = await getJson(`${core.apiUrl}/api/v1/dead-letters?topic=${LOGS}`)
      // One may have been given up, and not noted as done, when the core was killed: then there are two of it.
      const byKey = new Map<string, AnyJson>(body.items.map((letter: AnyJson) => [letter.key, letter]))
      return byKey.size === 2 ? [...byKey.values()] : null
    })
    const reason = { code: 'VALIDATION_ERROR', source: 'user-activity-processor' }
    expect(letters).toEqual([expect.objectContaining(reason), expect.objectContaining(reason)])
    await core.stop()
    const { ingestPort, apiPort } = core
    core = await startCloud({ dir, ingestPort, apiPort, config: { activity: { types: [LATER.activityType] } } })
    const ids = letters.filter(({ key }) => key === 'ada').map(({ id }) => id)
    const answer = await sendJson(`${core.apiUrl}/api/v1/dead-letters/replay`, 'POST', { ids })
    expect(answer).toMatchObject({ status: 200, body: { results: [{ outcome: 'REPLAYED' }] } })
    expect(await until(() => stored.row(LATER.eventId))).toMatchObject({ user_id: 'ada', source: 'billing' })
  })

  it('has a chain that verifies', async () => {
    const result = await busbar('cloud', ['activity', 'verify', '--config', core.configPath, '--json'])
    expect(result, result.stderr).toMatchObject({ code: 0 })
  })
})
