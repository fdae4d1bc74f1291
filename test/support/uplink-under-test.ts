/** An uplink with a real spool and quick timers, dialling a port. */

import { onTestFinished } from 'vitest'
import type { Spool } from '../../edge/spool/spool.ts'
import type { UplinkCredentials, UplinkOptions, UplinkTarget } from '../../edge/uplink/options.ts'
import { Uplink } from '../../edge/uplink/uplink.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'

/** Credentials that stay as they are. */
export function fixedTarget(target: UplinkTarget): UplinkCredentials {
  return { target: () => target, onChanged: () => undefined }
}

/** Started; stopped when the test ends. */
export async function startUplink(
  spool: Spool,
  port: number,
  { address = `127.0.0.1:${port}`, tls, ...options }: Partial<UplinkOptions & UplinkTarget> = {},
): Promise<Uplink> {
  const uplink = new Uplink({
    spool,
    gatewayId: 'gw-1',
    softwareVersion: 'test',
    credentials: fixedTarget(tls === undefined ? { address } : { address, tls }),
    backoffBaseMs: 20,
    backoffMaxMs: 200,
    backlogReportMs: 200,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    ...options,
  })
  onTestFinished(() => stopUplink(uplink))
  await uplink.start()
  return uplink
}

export function stopUplink(uplink: Uplink): Promise<void> {
  return uplink.stop(AbortSignal.timeout(5_000))
}
