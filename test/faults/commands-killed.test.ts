/** A task while gateways and the core are killed with -9 again and again: nothing is lost, and nothing is done twice. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type FleetSite, startFleetSite } from '../support/fleet-site.ts'
import { type AnyJson, getJson, sendJson } from '../support/json-request.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { until } from '../support/until.ts'

const GATEWAYS = 2
const METERS = 300
const DEVICES = GATEWAYS * METERS
const KILLS = 8
const SEED = 4_711

describe('a task while its processes are killed', () => {
  let site: FleetSite
  let task: AnyJson
  /** Tally at each kill. */
  const interrupted: AnyJson[] = []

  beforeAll(async () => {
    site = await startFleetSite({
      gateways: GATEWAYS,
      metersPerGateway: METERS,
      cores: 1,
      behaviour: { seed: SEED, failing: 0.03, rejecting: 0.01, answerMs: [100, 800] },
      cloudConfig: { commands: { gatewayLeaseMs: 2_000 }, tasks: { leaseMs: 2_000 } },
    })
    const [core] = site.cores
    const { body } = await sendJson(`${core?.apiUrl}/api/v1/tasks`, 'POST', {
      command_type: 'SET_TOU',
      command_params: { tou_profile_id: 'TOU-2026-WINTER' },
      device_ids: site.serialNumbers,
      requested_by: 'operator-1',
      // Slow enough that the kills come in the middle of it.
      options: { concurrency: 20, timeout_ms: 20_000, expires_in_ms: 300_000 },
    })
    const random = seededRandom(SEED)
    for (let kill = 0; kill < KILLS; kill++) {
      await new Promise((resolve) => setTimeout(resolve, 200 + random.fraction() * 800))
      interrupted.push((await getJson(`${core?.apiUrl}/api/v1/tasks/${body.taskId}`)).body)
      const victims = [...site.cores, ...site.edges]
      const victim = victims[Math.floor(random.fraction() * victims.length)]
      await victim?.kill('SIGKILL')
      await victim?.restart()
    }
    task = await until(
      async () => {
        const answer = await getJson(`${core?.apiUrl}/api/v1/tasks/${body.taskId}`)
        return answer.body.state === 'COMPLETED' ? answer.body : null
      },
      { timeoutMs: 120_000, pollMs: 500, what: 'the task is completed' },
    )
  }, 300_000)
  afterAll(async () => {
    await site?.stop()
  }, 60_000)

  it('the kills came in the middle of it', () => {
    expect(interrupted.filter(({ state }) => state === 'RUNNING').length).toBeGreaterThan(KILLS / 2)
  })

  it('every device has one final state, and every command was executed at most once', () => {
    const { QUEUED, SENT, DELIVERED, ...final } = task.tally as Record<string, number>
    expect({ QUEUED, SENT, DELIVERED }).toEqual({ QUEUED: 0, SENT: 0, DELIVERED: 0 })
    expect(Object.values(final).reduce((sum, count) => sum + count, 0)).toBe(DEVICES)
    expect(site.fleets.flatMap((fleet) => fleet.executedTwice())).toEqual([])
  })

  it('what the meters answered is what the tally says', () => {
    const executions = site.fleets.flatMap((fleet) => [...fleet.executions.values()])
    const said = (status: string): number => executions.filter((each) => each.status === status).length
    // The meters repeat an answer until it is acknowledged, so each of them arrived.
    expect({ SUCCEEDED: task.tally.SUCCEEDED, FAILED: task.tally.FAILED, REJECTED: task.tally.REJECTED }).toEqual({
      SUCCEEDED: said('SUCCESS'),
      FAILED: said('FAILED'),
      REJECTED: said('REJECTED'),
    })
  })
})
