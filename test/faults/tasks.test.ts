/**
 * SET_TOU to ten thousand simulated meters over ten gateways, with the link cut and a core killed while it runs: every device
 * ends in one final state, no meter executes a command twice, and the tally adds up.
 */

import { afterAll, beforeAll, expect, it } from 'vitest'
import { type FleetSite, startFleetSite } from '../support/fleet-site.ts'
import { type AnyJson, getJson, sendJson } from '../support/json-request.ts'
import { describeKafka } from '../support/kafka.ts'
import { readTopic } from '../support/kcat.ts'
import { describeWith } from '../support/real-parts.ts'
import { until } from '../support/until.ts'

const GATEWAYS = 10
const METERS = 1_000
const DEVICES = GATEWAYS * METERS
const SEED = 20_261_121
const OUTAGE_MS = 5_000
const DONE_TIMEOUT_MS = 180_000

describeKafka('a task over many devices', () => {
  describeWith(['kcat'], `${DEVICES} meters, ${GATEWAYS} gateways, two cores`, () => {
    let site: FleetSite
    let taskId: string
    let task: AnyJson

    const survivor = (): string => site.cores[1]?.apiUrl as string
    const finished = (state: AnyJson): number =>
      DEVICES - (state.tally.QUEUED + state.tally.SENT + state.tally.DELIVERED)
    const taskNow = async (): Promise<AnyJson> => (await getJson(`${survivor()}/api/v1/tasks/${taskId}`)).body
    const reached = (share: number): Promise<unknown> =>
      until(async () => finished(await taskNow()) >= share * DEVICES, {
        timeoutMs: DONE_TIMEOUT_MS,
        pollMs: 100,
        what: `${share * 100} % of the devices are done`,
      })

    beforeAll(async () => {
      site = await startFleetSite({
        gateways: GATEWAYS,
        metersPerGateway: METERS,
        cores: 2,
        behaviour: {
          seed: SEED,
          failing: 0.02,
          rejecting: 0.01,
          slow: 0.05,
          silent: 0.005,
          slowAnswerMs: [500, 2_000],
        },
        cloudConfig: {
          commands: { gatewayLeaseMs: 3_000 },
          tasks: { leaseMs: 3_000 },
          kafka: { sessionTimeoutMs: 6_000 },
        },
      })
      const { status, body } = await sendJson(`${site.cores[0]?.apiUrl}/api/v1/tasks`, 'POST', {
        command_type: 'SET_TOU',
        command_params: { tou_profile_id: 'TOU-2026-WINTER' },
        device_ids: site.serialNumbers,
        requested_by: 'operator-1',
        options: { concurrency: 2_000, timeout_ms: 15_000, expires_in_ms: 600_000 },
      })
      expect({ status, body }).toMatchObject({ status: 202 })
      taskId = body.taskId
      await reached(0.2)
      await site.link.cut()
      await new Promise((resolve) => setTimeout(resolve, OUTAGE_MS))
      await site.link.restore()
      await reached(0.5)
      await site.cores[0]?.kill('SIGKILL')
      task = await until(
        async () => {
          const now = await taskNow()
          return now.state === 'COMPLETED' ? now : null
        },
        { timeoutMs: DONE_TIMEOUT_MS, pollMs: 500, what: 'the task is completed' },
      )
    }, 600_000)
    afterAll(async () => {
      await site?.stop()
    }, 60_000)

    it('every device has one final state, and the tally adds up', async () => {
      const { QUEUED, SENT, DELIVERED, ...final } = task.tally as Record<string, number>
      expect({ QUEUED, SENT, DELIVERED }).toEqual({ QUEUED: 0, SENT: 0, DELIVERED: 0 })
      expect(Object.values(final).reduce((sum, count) => sum + count, 0)).toBe(DEVICES)
      expect(task.device_count).toBe(DEVICES)
    })

    it('no meter executed a command twice, and none got two commands', () => {
      const executions = site.fleets.flatMap((fleet) => [...fleet.executions.values()])
      expect(executions.filter(({ times }) => times > 1)).toEqual([])
      const devices = new Set(executions.map(({ serialNumber }) => serialNumber))
      expect(devices.size).toBe(executions.length)
    })

    it('what the tally says is what the meters did', async () => {
      const executions = site.fleets.flatMap((fleet) => [...fleet.executions.values()])
      const said = (status: string | null): number => executions.filter((each) => each.status === status).length
      // A silent meter times out, and so may one that was cut off for too long: those alone may differ.
      expect(task.tally.SUCCEEDED + task.tally.TIMED_OUT).toBeGreaterThanOrEqual(said('SUCCESS'))
      expect(task.tally.SUCCEEDED).toBeLessThanOrEqual(said('SUCCESS'))
      expect(task.tally.FAILED).toBeLessThanOrEqual(said('FAILED'))
      expect(task.tally.REJECTED).toBeLessThanOrEqual(said('REJECTED'))
      expect(task.tally.TIMED_OUT).toBeGreaterThanOrEqual(said(null))
      expect(task.tally.EXPIRED + task.tally.CANCELLED).toBe(0)
    })

    it('orchestrator.responses has one outcome of every device', async () => {
      const records = await readTopic(site.kafka?.brokers ?? [], 'orchestrator.responses')
      const outcomes = new Map<string, Set<string>>()
      for (const { key, payload } of records) {
        const { taskId: of, deviceId, command_id, status } = JSON.parse(payload)
        expect({ key, of }).toEqual({ key: deviceId, of: taskId })
        outcomes.set(deviceId, (outcomes.get(deviceId) ?? new Set()).add(`${command_id} ${status}`))
      }
      expect(outcomes.size).toBe(DEVICES)
      // At least once: a record may come twice, an outcome may not.
      expect([...outcomes].filter(([, distinct]) => distinct.size > 1)).toEqual([])
    })
  })
})
