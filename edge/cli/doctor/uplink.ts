/** Does the cloud answer, and take this gateway for who it is: name, TCP, TLS and HTTP/2, each told apart. */

import { connect } from 'node:net'
import type { Clock } from '../../../shared/clock.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { dataPaths, type EdgeConfig } from '../../config.ts'
import { gatewayCredentials } from '../../identity/uplink-credentials.ts'
import { createChannel, whenReady } from '../../uplink/channel.ts'
import { callFailure } from '../../uplink/failure.ts'
import type { UplinkTarget } from '../../uplink/options.ts'
import { type Finding, fail, ok, warn } from './finding.ts'

const CONNECT_TIMEOUT_MS = 5_000
/** With TLS 1.3 a server refuses a certificate only after the client believes to be connected. */
const REFUSAL_MS = 500

const OFFLINE = 'records are kept on disk until it answers'

export async function checkUplink(config: EdgeConfig, clock: Clock): Promise<Finding> {
  const { gateway, uplink } = config
  if (!uplink.enabled) {
    return warn('uplink', 'uplink.enabled is false: nothing is sent', 'set it to true when the spool should drain')
  }
  let target: UplinkTarget
  try {
    target = gatewayCredentials(gateway.id, dataPaths(config).identityDir, uplink).target()
  } catch (error) {
    if (!(error instanceof BusbarError)) throw error
    // The way there can be looked at all the same.
    const blocked = uplink.address === '' ? null : await unreachable(uplink.address)
    return blocked ?? fail('uplink', `there is nothing to dial with: ${error.message}`, error.hint ?? OFFLINE)
  }
  const blocked = await unreachable(target.address)
  if (blocked !== null) return blocked
  const failure = await reachGrpc(target, clock)
  if (failure === null) return ok('uplink', `${target.address} answers${target.tls === undefined ? '' : ' over TLS'}`)
  // What is about certificates says so itself; anything else is no gRPC.
  const known = ['UPLINK_UNREACHABLE', 'UPLINK_FAILED', 'UPLINK_TIMEOUT'].includes(failure.code) ? null : failure
  const detail = known?.message ?? `${target.address} accepts connections but no gRPC: ${failure.message}`
  const hint = known?.hint ?? `see that ${target.address} is the ingest port and that uplink.tls is as there`
  return fail('uplink', detail, `${hint}; ${OFFLINE}`)
}

async function unreachable(address: string): Promise<Finding | null> {
  const refused = await tcpError(address)
  if (refused === null) return null
  const hint = `check uplink.address, the cable, the firewall and the cloud; ${OFFLINE}`
  return fail('uplink', `no connection to ${address}: ${refused}`, hint)
}

/** Why no TCP connection comes about, or null when one does. */
function tcpError(address: string): Promise<string | null> {
  const colon = address.lastIndexOf(':')
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(address.slice(colon + 1)), timeout: CONNECT_TIMEOUT_MS })
    const end = (reason: string | null) => {
      socket.destroy()
      resolve(reason)
    }
    socket.once('connect', () => end(null))
    socket.once('timeout', () => end(`no answer within ${CONNECT_TIMEOUT_MS} ms`))
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message))
  })
}

/** Why no stream comes about, or null when one does. It is opened without Hello, so that a running gateway keeps its own. */
function reachGrpc(target: UplinkTarget, clock: Clock): Promise<BusbarError | null> {
  const { promise, resolve } = Promise.withResolvers<BusbarError | null>()
  const failed = (error: unknown): void => resolve(callFailure(error, { target, nowWallMs: clock.wallMs() }))
  try {
    const keepalive = { keepaliveMs: CONNECT_TIMEOUT_MS, keepaliveTimeoutMs: CONNECT_TIMEOUT_MS }
    const { client } = createChannel({ ...target, ...keepalive })
    const call = client.session()
    call.on('error', failed)
    call.on('data', () => undefined)
    const timers = [clock.after(CONNECT_TIMEOUT_MS, () => failed(new Error('no answer in time')))]
    whenReady(client, () => timers.push(clock.after(REFUSAL_MS, () => resolve(null))))
    return promise.finally(() => {
      for (const timer of timers) timer.cancel()
      call.cancel()
      client.close()
    })
  } catch (error) {
    return Promise.resolve(
      error instanceof BusbarError ? error : callFailure(error, { target, nowWallMs: clock.wallMs() }),
    )
  }
}
