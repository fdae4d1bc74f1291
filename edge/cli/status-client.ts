/** Asks the edge that runs on this machine how it is. */

import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { EdgeConfig } from '../config.ts'
import type { EdgeStatus } from '../health/status.ts'

const ANSWER_TIMEOUT_MS = 3_000

/** @throws BusbarError EDGE_NOT_RUNNING, STATUS_UNAVAILABLE */
export async function readStatus(health: EdgeConfig['health'], clock: Clock): Promise<EdgeStatus> {
  const { enabled, host, port } = health
  if (!enabled) {
    throw new BusbarError('health.enabled is false, so a running edge cannot be asked', {
      code: 'STATUS_UNAVAILABLE',
      hint: 'set health.enabled to true and restart the edge',
    })
  }
  const address = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '[::1]' : host.includes(':') ? `[${host}]` : host
  const abort = new AbortController()
  const timer = clock.after(ANSWER_TIMEOUT_MS, () => abort.abort())
  let response: Response
  try {
    response = await fetch(`http://${address}:${port}/status`, { signal: abort.signal })
  } catch (cause) {
    throw new BusbarError(`no edge answers on ${host}:${port}: ${messageOf(cause)}`, {
      code: 'EDGE_NOT_RUNNING',
      hint: 'start it with `busbar-edge run`, or name its config with --config if it listens elsewhere',
      cause,
    })
  } finally {
    timer.cancel()
  }
  const status = response.ok ? ((await response.json().catch(() => null)) as EdgeStatus | null) : null
  if (typeof status?.gatewayId !== 'string') {
    throw new BusbarError(`what answers on ${host}:${port} is no edge (HTTP ${response.status})`, {
      code: 'STATUS_UNAVAILABLE',
      hint: 'set health.port to the port of the edge',
    })
  }
  return status
}
