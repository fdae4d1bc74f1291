/** A core that is frozen for longer than its leases, in the middle of a task, and thaws while another one has its work. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type FleetSite, startFleetSite } from '../support/fleet-site.ts'
import { type AnyJson, getJson, sendJson } from '../support/json-request.ts'
import { describeKafka } from '../support/kafka.ts'
import { until } from '../support/until.ts'

const GATEWAYS = 4
const METERS = 150
const DEVICES = GATEWAYS * METERS
/** Longer than any lease below, and than the gateways' keepalive. */
const FROZEN_MS = 9_000

describeKafka('a core that freezes', () => {
  describe('and thaws when its leases are over', () => {
    let site: FleetSite
    let task: AnyJson

    beforeAll(async () => {
      site = await startFleetSite({
        gateways: GATEWAYS,
        metersPerGateway: METERS,
        cores: 2,
        behaviour: { seed: 7, failing: 0.02, answerMs: [100, 600] },
        cloudConfig: {
          commands: { gatewayLeaseMs: 3_000 },
          tasks: { leaseMs: 3_000 },
          kafka: { sessionTimeoutMs: 6_000 },
        },
      })
      const [frozen, other] = site.cores
      const { body } = await sendJson(`${frozen?.apiUrl}/api/v1/tasks`, 'POST', {
        command_type: 'SET_TOU',
        command_params: { tou_profile_id: 'TOU-2026-WINTER' },
        device_ids: site.serialNumbers,
        requested_by: 'operator-1',
        options: { concurrency: 50, timeout_ms: 12_000, expires_in_ms: 300_000 },
      })
      const now = async (): Promise<AnyJson> => (await getJson(`${other?.apiUrl}/api/v1/tasks/${body.taskId}`)).body
      await until(async () => (await now()).tally.SUCCEEDED > DEVICES / 5, { pollMs: 100, what: 'a fifth is done' })
      await frozen?.kill('SIGSTOP')
      await new Promise((resolve) => setTimeout(resolve, FROZEN_MS))
      // The other core has taken over what the frozen one had, and goes on.
      const before = (await now()).tally.SUCCEEDED
      await until(async () => (await now()).tally.SUCCEEDED > before, { timeoutMs: 30_000, what: 'the task goes on' })
      await frozen?.kill('SIGCONT')
      task = await until(async () => ((await now()).state === 'COMPLETED' ? await now() : null), {
        timeoutMs: 120_000,
        pollMs: 250,
        what: 'the task is completed',
      })
    }, 300_000)
    afterAll(async () => {
      await site?.stop()
    }, 60_000)

    it('every device has one final state, and every command was executed at most once', () => {
      const { QUEUED, SENT, DELIVERED, ...final } = task.tally as Record<string, number>
      expect({ QUEUED, SENT, DELIVERED }).toEqual({ QUEUED: 0, SENT: 0, DELIVERED: 0 })
      expect(Object.values(final).reduce((sum, count) => sum + count, 0)).toBe(DEVICES)
      expect(site.fleets.flatMap((fleet) => fleet.executedTwice())).toEqual([])
      const devices = site.fleets.flatMap((fleet) => [...fleet.executionsByDevice().values()])
      expect(Math.max(...devices)).toBe(1)
    })
  })
})
