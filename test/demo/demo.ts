/**
 * `npm run demo`: a cloud core, one gateway and a simulated substation, each for real, on this machine. The uplink is cut
 * for a while and restored, and all meters are sent a new tariff; at the end every reading is looked for where consumers
 * find it. With --exit the demo stops there, with status 0 only if nothing was lost or duplicated and every meter did once
 * what the task says of it; otherwise it goes on until Ctrl-C.
 */

import { EXIT_FAILED, EXIT_OK, EXIT_USAGE } from '../../shared/cli/exit-status.ts'
import { processTerminal, type Terminal } from '../../shared/cli/terminal.ts'
import { systemClock as clock, sleep } from '../../shared/clock.ts'
import { messageOf } from '../../shared/errors.ts'
import { readBusFile } from '../support/bus-file.ts'
import { insightLines, isWhole, lookBack, watchMeters } from './insight.ts'
import { Observation } from './observation.ts'
import { Screen } from './screen.ts'
import { SITE_ID, type Stage, setStage, VISITOR_DEVICE, VISITOR_OBSERVER } from './stage.ts'
import { isComplete, Tally, type TallyResult } from './tally.ts'
import { isRight, switchTariff, tariffLines } from './tariff.ts'
import { tallyLines } from './view.ts'

const REFRESH_MS = 200
const FLOW_MS = 7_000
const CUT_MS = 9_000
/** After the backlog has drained, so that the steady flow is seen again. */
const AFTERGLOW_MS = 2_500
/** While readings flow the spool is never quite empty. */
const STEADY_RECORDS = 500
const DRAIN_TIMEOUT_MS = 60_000

async function main(args: readonly string[]): Promise<number> {
  const terminal = processTerminal(process.env)
  const unknown = args.filter((arg) => arg !== '--exit')
  if (unknown.length > 0) {
    terminal.err(`no ${unknown.join(', ')}; there is --exit, which stops after the count\n`)
    return EXIT_USAGE
  }
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
  terminal.out('Busbar: a cloud core, a gateway and a simulated substation, all on this machine. Starting …\n\n')
  const tally = new Tally()
  let stage: Stage | null = null
  try {
    stage = await setStage(tally)
    const asPromised = await perform(stage, tally, terminal, interrupted.signal)
    if (asPromised === null) return EXIT_OK
    if (!args.includes('--exit')) await goOn(stage, terminal, interrupted.signal)
    return asPromised ? EXIT_OK : EXIT_FAILED
  } catch (error) {
    if (interrupted.signal.aborted) return EXIT_OK
    terminal.err(`\n${terminal.paint.bad('the demo failed:')} ${messageOf(error)}\n${stage?.logs() ?? ''}`)
    return EXIT_FAILED
  } finally {
    await stage?.stop()
  }
}

/** The outage, the task and the count, and whether all of it came out right; null when it was interrupted. */
async function perform(stage: Stage, tally: Tally, terminal: Terminal, signal: AbortSignal): Promise<boolean | null> {
  const { link, playback } = stage
  const screen = new Screen(terminal)
  const observation = new Observation(stage, tally)
  /** Shows what flows until `over` holds. */
  const act = async (title: string, over: (facts: { spoolRecords: number }, elapsedMs: number) => boolean) => {
    const beganMs = clock.monotonicMs()
    while (!signal.aborted) {
      const facts = await observation.facts(title)
      screen.show(facts)
      if (over(facts, clock.monotonicMs() - beganMs)) return
      await sleep(clock, REFRESH_MS, signal)
    }
  }
  const drained = ({ spoolRecords }: { spoolRecords: number }, elapsedMs: number): boolean => {
    if (elapsedMs > DRAIN_TIMEOUT_MS) throw new Error(`${spoolRecords} records are still in the spool`)
    return spoolRecords === 0
  }

  await watchMeters(stage)
  playback.start()
  await act('Readings flow to the cloud.', (_facts, elapsedMs) => elapsedMs >= FLOW_MS)
  if (signal.aborted) return null
  await link.cut()
  await act('The uplink is cut: the gateway keeps everything.', (_facts, elapsedMs) => elapsedMs >= CUT_MS)
  await link.restore()
  await act('The uplink is back: the backlog drains beside new readings.', (facts, elapsedMs) => {
    return drained({ spoolRecords: Math.max(0, facts.spoolRecords - STEADY_RECORDS) }, elapsedMs)
  })
  await act('Readings flow to the cloud again.', (_facts, elapsedMs) => elapsedMs >= AFTERGLOW_MS)
  screen.say('\nAll meters get a new tariff: SET_TOU over the API, through the gateway, and back.')
  const tariff = await switchTariff(stage, terminal, signal)
  if (tariff === null) return null
  for (const line of tariffLines(tariff, terminal.paint)) screen.say(line)
  screen.say('')
  playback.stop()
  await act('The devices pause; the last readings arrive.', (facts, elapsedMs) => {
    return drained(facts, elapsedMs) && stage.outstanding() === 0
  })
  if (signal.aborted) return null

  const insight = await lookBack(stage, tally.result().published, signal)
  if (insight === null) return null
  await stage.cloud.stop()
  const result = count(stage, tally)
  screen.say('\nEvery reading, looked up by its device and number in the topic device-telemetry:')
  for (const line of tallyLines(result, terminal.paint)) screen.say(line)
  screen.say('\nThe same readings in the database, and what a rule found in them (a meter above 30 kW):')
  for (const line of insightLines(insight, result.published, terminal.paint)) screen.say(line)
  return isComplete(result) && isRight(tariff) && isWhole(insight, result.published)
}

/** Reads what consumers would get and marks it in the tally. The cloud must have stopped. */
function count(stage: Stage, tally: Tally): TallyResult {
  readBusFile(stage.cloud.busDir, 'device-telemetry', (record) => {
    const { serialNumber, telemetryData } = JSON.parse(record.value.toString('utf8')) as {
      serialNumber: string
      telemetryData: { sample: number }
    }
    tally.arrived(serialNumber, telemetryData.sample)
  })
  return tally.result()
}

/** Runs on for visitors. */
async function goOn(stage: Stage, terminal: Terminal, signal: AbortSignal): Promise<void> {
  const { cloud, edge, playback } = stage
  await cloud.restart()
  playback.start()
  const { paint, out } = terminal
  const device = edge.logins.get(VISITOR_DEVICE)
  const observer = edge.logins.get(VISITOR_OBSERVER)
  const broker = `-h 127.0.0.1 -p ${edge.mqttPort}`
  const lines = [
    '',
    'The substation goes on in real time until you press Ctrl-C. Look around:',
    `  devices            ${cloud.apiUrl}/api/v1/devices`,
    `  latest values      ${cloud.apiUrl}/api/v1/devices/1/latest`,
    `  tasks              ${cloud.apiUrl}/api/v1/tasks`,
    `  alerts             ${cloud.apiUrl}/api/v1/alerts`,
    `  who did what       ${cloud.apiUrl}/api/v1/activities`,
    `  API documentation  ${cloud.apiUrl}/docs`,
    `  cloud health       ${cloud.apiUrl}/health/ready   metrics ${cloud.apiUrl}/metrics`,
    `  gateway health     ${edge.healthUrl}/health/ready   metrics ${edge.healthUrl}/metrics`,
    '',
    'Be a device:',
    `  mosquitto_pub ${broker} -u ${device?.username} -P ${device?.password} -q 1 \\`,
    `    -t sites/${SITE_ID}/devices/${VISITOR_DEVICE}/telemetry -m '{"powerKw": 45.2}'`,
    'Listen in on site, cloud or no cloud:',
    `  mosquitto_sub ${broker} -u ${observer?.username} -P ${observer?.password} -v -t 'sites/+/devices/+/telemetry'`,
    '',
  ]
  out(lines.join('\n'))
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
  out(`\n${paint.faint('stopping …')}\n`)
}

process.exit(await main(process.argv.slice(2)))
