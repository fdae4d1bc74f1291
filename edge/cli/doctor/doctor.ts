/** `busbar-edge doctor`: everything that must be right for the edge to work, and what to do where it is not. */

import { EXIT_FAILED, EXIT_OK } from '../../../shared/cli/exit-status.ts'
import type { Paint, Terminal } from '../../../shared/cli/terminal.ts'
import type { Clock } from '../../../shared/clock.ts'
import { BusbarError } from '../../../shared/errors.ts'
import type { Random } from '../../../shared/random.ts'
import type { EdgeConfig } from '../../config.ts'
import { checkCertificates } from './certificates.ts'
import { checkCredentials } from './credentials.ts'
import { checkDisk } from './disk.ts'
import { type Finding, fail, type Outcome, ok } from './finding.ts'
import { checkIdentity } from './identity.ts'
import { checkPorts } from './ports.ts'
import { checkTime } from './time.ts'
import { checkUplink } from './uplink.ts'

export interface DoctorOptions {
  readonly json: boolean
  readonly loadConfig: () => EdgeConfig
  readonly clock: Clock
  readonly random: Random
}

/** Exit status 1 when a check failed; warnings alone are 0. */
export async function doctorCommand(options: DoctorOptions, terminal: Terminal): Promise<number> {
  const findings: Finding[] = []
  const report = (found: Finding | readonly Finding[]) => {
    for (const finding of [found].flat()) {
      findings.push(finding)
      if (!options.json) terminal.out(describe(finding, terminal.paint))
    }
  }
  await runChecks(options, report)
  const failed = findings.filter((finding) => finding.outcome === 'fail').length
  if (options.json) terminal.out(`${JSON.stringify({ ok: failed === 0, findings }, null, 2)}\n`)
  else
    terminal.out(failed === 0 ? '\nnothing stands in the way\n' : `\n${failed} of ${findings.length} checks failed\n`)
  return failed === 0 ? EXIT_OK : EXIT_FAILED
}

async function runChecks(
  { loadConfig, clock, random }: DoctorOptions,
  report: (found: Finding | readonly Finding[]) => void,
): Promise<void> {
  const begun = { wallMs: clock.wallMs(), monotonicMs: clock.monotonicMs() }
  let config: EdgeConfig
  try {
    config = loadConfig()
  } catch (error) {
    // Every other check reads the config.
    if (!(error instanceof BusbarError)) throw error
    return report(fail('config', error.message, error.hint ?? 'correct it'))
  }
  report(ok('config', `gateway ${config.gateway.id}`))
  report(await checkDisk(config, clock, random))
  report(checkCredentials(config))
  report(await checkCertificates(config, clock.wallMs()))
  report(checkIdentity(config, clock.wallMs()))
  report(await checkPorts(config, clock))
  report(await checkUplink(config, clock))
  report(checkTime(clock, begun))
}

function describe({ check, outcome, detail, hint }: Finding, paint: Paint): string {
  const painted: Record<Outcome, string> = {
    ok: paint.good('ok  '),
    warn: paint.caution('warn'),
    fail: paint.bad('FAIL'),
  }
  const indented = detail.replaceAll('\n', '\n      ')
  const next = hint === undefined ? '' : `      ${paint.faint('next:')} ${hint}\n`
  return `${painted[outcome]}  ${check}: ${indented}\n${next}`
}
