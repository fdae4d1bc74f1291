/** `busbar-edge status`: how the edge that runs on this machine is. */

import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import { formatBytes, formatCount, formatDuration } from '../../shared/cli/format.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import { LANES } from '../../shared/lanes.ts'
import type { EdgeConfig } from '../config.ts'
import type { EdgeStatus } from '../health/status.ts'
import { readStatus } from './status-client.ts'

export async function statusCommand(
  config: EdgeConfig,
  options: { readonly json: boolean },
  terminal: Terminal,
  clock: Clock,
): Promise<number> {
  const status = await readStatus(config.health, clock)
  if (options.json) terminal.out(`${JSON.stringify(status, null, 2)}\n`)
  else writeStatus(status, terminal, clock.wallMs())
  return EXIT_OK
}

function writeStatus(status: EdgeStatus, terminal: Terminal, nowMs: number): void {
  const { paint, out } = terminal
  const { readiness, spool, broker, commands } = status
  const ready = readiness.ready ? paint.good('ready') : paint.bad('not ready')
  out(`gateway  ${status.gatewayId}, ${status.version}, up ${formatDuration(status.uptimeMs)}, ${ready}\n`)
  for (const { part, reason } of readiness.reasons) out(`         ${paint.bad(part)}: ${reason}\n`)
  out(`uplink   ${describeUplink(status.uplink, terminal)}\n`)
  describeCertificate(status.certificate, terminal)
  out(`spool    ${formatBytes(spool.bytes)} of ${formatBytes(spool.bytesMax)}, ${describeGrowth(spool)}\n`)
  const evicted = Object.values(spool.evicted).reduce((sum, records) => sum + records, 0)
  if (evicted > 0)
    out(`         ${paint.bad(`${formatCount(evicted)} records given up`)}: ${perReason(spool.evicted)}\n`)
  if (spool.quarantinedBlocks > 0) out(`         ${paint.bad(`${spool.quarantinedBlocks} corrupt blocks set aside`)}\n`)
  const listening = broker.listeners.filter((each) => each.listening).map(({ kind, port }) => `${kind} ${port}`)
  out(`broker   ${formatCount(broker.connections)} connections; ${listening.join(', ') || paint.bad('no listener')}\n`)
  const { waiting, sent, delivered, failing } = commands
  const counts = `${formatCount(waiting)} waiting, ${formatCount(sent + delivered)} with their devices`
  out(`commands ${failing === null ? counts : `${counts}; ${paint.bad(`cannot store: ${failing}`)}`}\n\n`)

  writeTable(
    terminal,
    ['LANE', 'RECORDS', 'SIZE', 'OLDEST'],
    LANES.map((name) => {
      const lane = spool.lanes[name]
      return [
        name,
        formatCount(lane.records),
        formatBytes(lane.bytes),
        lane.records === 0 ? '-' : formatDuration(lane.lagMs),
      ]
    }),
  )
  if (status.devices.length === 0) return
  out('\n')
  writeTable(
    terminal,
    ['SITE', 'DEVICE', 'CONNECTED', 'LAST SEEN'],
    status.devices.map(({ siteId, serialNumber, connected, lastSeenWallMs }) => [
      String(siteId),
      serialNumber,
      connected ? 'yes' : 'no',
      lastSeenWallMs === null ? '-' : `${formatDuration(Math.max(0, nowMs - lastSeenWallMs))} ago`,
    ]),
  )
}

function describeUplink(uplink: EdgeStatus['uplink'], { paint }: Terminal): string {
  if (uplink === null) return 'disabled (uplink.enabled)'
  const parts = [
    uplink.connected
      ? `${paint.good('connected')} for ${formatDuration(uplink.connectedForMs ?? 0)}`
      : paint.caution(uplink.state),
    uplink.sinceLastAckMs === null
      ? 'nothing confirmed yet'
      : `last confirmation ${formatDuration(uplink.sinceLastAckMs)} ago`,
  ]
  if (!uplink.connected && uplink.lastError !== null) parts.push(uplink.lastError)
  return parts.join('; ')
}

function describeCertificate(certificate: EdgeStatus['certificate'], { paint, out }: Terminal): void {
  if (certificate === null) return
  const { source, state, notAfter, daysLeft, advice } = certificate
  if (source === 'none') {
    out(`identity ${paint.caution('none')}: uplink.insecure\n`)
    return
  }
  const painted = state === 'good' ? paint.good(state) : state === 'renewing' ? paint.caution(state) : paint.bad(state)
  const dates = notAfter === null ? '' : `, until ${notAfter} (${daysLeft} days)`
  out(`identity ${painted}${dates}; from ${source === 'files' ? 'uplink.tls.certFile' : 'enrolment'}\n`)
  if (advice !== null) out(`         ${paint.caution(advice)}\n`)
}

function describeGrowth(spool: EdgeStatus['spool']): string {
  const rate = spool.growthBytesPerSecond
  if (rate === null) return 'rate not known yet'
  if (spool.timeToFullMs !== null) return `growing, full in ${formatDuration(spool.timeToFullMs)}`
  return rate < 0 ? `draining at ${formatBytes(-rate)}/s` : 'not growing'
}

function perReason(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .filter(([, records]) => records > 0)
    .map(([reason, records]) => `${formatCount(records)} by ${reason}`)
    .join(', ')
}
