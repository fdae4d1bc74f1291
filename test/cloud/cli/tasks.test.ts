/** The real program against a real core, with a gateway and simulated meters behind it. */

import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type CloudProcess, startCloud } from '../../support/cloud-process.ts'
import { busbar } from '../../support/command.ts'
import { type EdgeProcess, startEdge } from '../../support/edge-process.ts'
import { getJson } from '../../support/json-request.ts'
import { MeterFleet, meterNames } from '../../support/meter-fleet.ts'
import { until } from '../../support/until.ts'

const METERS = 12
const OBEDIENT = { seed: 5, failing: 0, rejecting: 0, slow: 0, silent: 0, answerMs: [0, 20] as const }

describe('busbar-cloud task and command', { timeout: 60_000 }, () => {
  const serialNumbers = meterNames(METERS)
  let cloud: CloudProcess
  let edge: EdgeProcess
  let fleet: MeterFleet
  /** A meter that fails whatever it is told. */
  let failing: MeterFleet

  const run = (...args: string[]) => busbar('cloud', args, { env: { BUSBAR_CLOUD_URL: cloud.apiUrl } })
  const start = (...args: string[]) =>
    run('task', 'start', '--type', 'SET_TOU', '--params', 'tou_profile_id=TOU-1', '--requested-by', 'op-1', ...args)

  beforeAll(async () => {
    cloud = await startCloud()
    edge = await startEdge({ uplinkPort: cloud.ingestPort, config: { mqtt: { insecure: true } } })
    fleet = new MeterFleet({ port: edge.mqttPort, siteId: 1, serialNumbers, behaviour: OBEDIENT })
    const behaviour = { ...OBEDIENT, failing: 1 }
    failing = new MeterFleet({ port: edge.mqttPort, siteId: 2, serialNumbers: ['MTR-BAD'], behaviour })
    await Promise.all([fleet.start(), failing.start()])
    await Promise.all([fleet.announce(), failing.announce()])
    await until(async () => (await getJson(`${cloud.apiUrl}/api/v1/devices`)).body.items.length === METERS + 1)
  }, 60_000)
  afterAll(async () => {
    await Promise.all([fleet?.stop(), failing?.stop()])
    await edge?.kill('SIGKILL')
    await cloud?.kill('SIGKILL')
    for (const dir of [edge?.dir, cloud?.dir]) if (dir !== undefined) await rm(dir, { recursive: true, force: true })
  })

  it('starts a task over the devices of a file, shows its progress and ends with the tally', async () => {
    const file = join(cloud.dir, 'devices.txt')
    await writeFile(file, `# all of them\n${serialNumbers.join('\n')}\n`)
    const { code, stdout, stderr } = await start('--devices-file', file, '--watch')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^\d+\.\d s {2}(REQUESTED|RUNNING|COMPLETED) {2}\d+ of 12/)
    expect(stdout).toMatch(/COMPLETED {2}12 of 12.*succeeded 12\nCOMPLETED\nsucceeded\t12\t100.0 %\n$/)
    expect(stdout).not.toContain('\u001b')
    expect(fleet.executionsByDevice()).toEqual(new Map(serialNumbers.map((each) => [each, 1])))
  })

  it('ends with 1 when a device failed, names it, and tries it again', async () => {
    const { code, stdout, stderr } = await start('--site', '2', '--watch', '--json')
    expect(code).toBe(1)
    const task = JSON.parse(stdout)
    expect(task).toMatchObject({ state: 'COMPLETED', tally: { FAILED: 1, SUCCEEDED: 0 }, requested_by: 'op-1' })
    expect(stderr).toContain(`task retry ${task.taskId}`)

    const shown = await run('task', 'show', task.taskId, '--state', 'FAILED')
    expect(shown.stdout).toMatch(/^MTR-BAD\t2\tfailed\t1\t[\dT:.Z-]+\t\{"dlmsResultCode":\d+,/)
    const whole = await run('task', 'show', task.taskId)
    expect(whole.stdout).toContain('command   SET_TOU {"tou_profile_id":"TOU-1"}')

    const again = await run('task', 'retry', task.taskId, '--watch', '--json')
    expect(again.code).toBe(1)
    expect(JSON.parse(again.stdout)).toMatchObject({ round: 2, tally: { FAILED: 1 } })
    expect(failing.executionsByDevice()).toEqual(new Map([['MTR-BAD', 2]]))
  })

  it('starts one task for one key, and lists and shows it', async () => {
    const [first, second] = [
      await start('--device', 'MTR-00001', '--idempotency-key', 'tuesday'),
      await start('--device', 'MTR-00001', '--idempotency-key', 'tuesday'),
    ]
    expect(first.code).toBe(0)
    expect(first.stdout).toMatch(/^[0-9a-f]{24}\n$/)
    expect(second.stdout).toBe(first.stdout)
    const id = first.stdout.trim()
    expect(await run('task', 'watch', id)).toMatchObject({ code: 0 })
    const listed = await run('task', 'list', '--requested-by', 'op-1', '--state', 'COMPLETED')
    expect(listed.stdout).toMatch(new RegExp(`^${id}\\tCOMPLETED\\tSET_TOU\\t1\\t1\\t1\\top-1\\t`, 'm'))
    expect(JSON.parse((await run('task', 'list', '--limit', '1', '--json')).stdout)).toMatchObject([{ taskId: id }])
  })

  it('cancels what has not begun, and says why a second time is too late', async () => {
    const startAt = new Date(Date.now() + 3_600_000).toISOString()
    const id = (await start('--device', 'MTR-00001', '--start-at', startAt)).stdout.trim()
    expect(await run('task', 'cancel', id, '--reason', 'wrong profile')).toMatchObject({ code: 0 })
    const watched = await run('task', 'watch', id)
    expect(watched.code).toBe(1)
    expect(watched.stdout).toContain('CANCELLED: wrong profile\ncancelled\t1\t')
    const again = await run('task', 'cancel', id)
    expect(again.code).toBe(1)
    expect(again.stderr).toMatch(/^error TASK_STATE_CONFLICT: .*CANCELLED.*\nnext: .*retry/)
  })

  it('says everything that is wrong with a task', async () => {
    const devices = ['MTR-00001', 'NOBODY', 'MTR-00001'].flatMap((each) => ['--device', each])
    const { code, stdout, stderr } = await run('task', 'start', '--type', 'SET_TOU', '--params', '{}', ...devices)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^error INVALID_INPUT: 3 values/)
    expect(stderr).toMatch(/\n {2}body \/command_params\/tou_profile_id: required/)
    expect(stderr).toMatch(/\n {2}body \/device_ids\/1 is "NOBODY": .*no device/)
    expect(stderr).toMatch(/\n {2}body \/device_ids\/2 is "MTR-00001": leave it out/)
  })

  it('sends a command, waits for the answer, and shows and lists it', async () => {
    const sent = await run(
      'command',
      'send',
      'READ_REGISTERS',
      '--device',
      'MTR-00002',
      '--wait',
      '--json',
      '--params',
      'registers=["energyKwh"]',
    )
    expect(sent.code).toBe(0)
    const { id, delivery } = JSON.parse(sent.stdout)
    expect(delivery).toMatchObject({ state: 'SUCCEEDED', response: { registers: { energyKwh: expect.any(Number) } } })
    const shown = await run('command', 'show', id)
    expect(shown.stdout).toMatch(/delivery {2}succeeded\n/)
    expect(shown.stdout).toContain('device    MTR-00002 at site 1\n')
    const listed = await run('command', 'list', '--device', 'MTR-00002', '--state', 'SUCCEEDED')
    expect(listed.stdout).toMatch(new RegExp(`^${id}\\tMTR-00002\\t1\\tREAD_REGISTERS\\t\\w+\\tsucceeded\\t`))

    const refused = await run('command', 'send', 'REBOOT', '--device', 'MTR-BAD', '--wait')
    expect(refused.code).toBe(1)
    expect(refused.stdout).toMatch(/delivery {2}failed\n/)
  })

  it('says that a command goes to no device when none is registered', async () => {
    const { code, stdout, stderr } = await run('command', 'send', 'reboot', '--device', 'NOBODY')
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^cmd-[0-9a-f]{8}\n$/) })
    expect(stderr).toContain('NOBODY is not registered here')
  })

  it('says what to do when there is no core, no such task, or something else listens', async () => {
    const absent = await busbar('cloud', ['task', 'list', '--url', 'http://127.0.0.1:1'])
    expect(absent.code).toBe(1)
    expect(absent.stderr).toMatch(/^error API_UNREACHABLE: .*\nnext: .*--url/)
    const unknown = await run('task', 'show', '689dce4358cba50614cee678')
    expect(unknown).toMatchObject({ code: 1, stdout: '' })
    expect(unknown.stderr).toContain('error NOT_FOUND: There is no task 689dce4358cba50614cee678')
    const other = await busbar('cloud', ['task', 'list', '--url', edge.healthUrl])
    expect(other.stderr).toMatch(/^error API_ANSWER_UNKNOWN/)
    expect((await busbar('cloud', ['task', 'list', '--url', 'nonsense'])).code).toBe(64)
  })

  it('goes on watching while the core is away', async () => {
    const startAt = new Date(Date.now() + 4_000).toISOString()
    const id = (await start('--device', 'MTR-00003', '--start-at', startAt)).stdout.trim()
    const watching = run('task', 'watch', id)
    await new Promise((resolve) => setTimeout(resolve, 800))
    await cloud.kill('SIGKILL')
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    await cloud.restart()
    const { code, stdout, stderr } = await watching
    expect({ code, stderr }).toMatchObject({ code: 0, stderr: 'no core answers; the task goes on, still looking\n' })
    expect(stdout).toContain('SCHEDULED  0 of 1')
    expect(stdout).toContain('succeeded\t1\t100.0 %')
  })
})
