/** Does the cloud answer: name, TCP, TLS and HTTP/2, each told apart. */

import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { Client, credentials } from '@grpc/grpc-js'
import type { Clock } from '../../../shared/clock.ts'
import { messageOf } from '../../../shared/errors.ts'
import type { EdgeConfig } from '../../config.ts'
import { type Finding, fail, ok, warn } from './finding.ts'

const CONNECT_TIMEOUT_MS = 5_000

const OFFLINE = 'records are kept on disk until it answers'

export async function checkUplink({ uplink }: EdgeConfig, clock: Clock): Promise<Finding> {
  if (!uplink.enabled) {
    return warn('uplink', 'uplink.enabled is false: nothing is sent', 'set it to true when the spool should drain')
  }
  const refused = await tcpError(uplink.address)
  if (refused !== null) {
    const hint = `check uplink.address, the cable, the firewall and the cloud; ${OFFLINE}`
    return fail('uplink', `no connection to ${uplink.address}: ${refused}`, hint)
  }
  try {
    await reachGrpc(uplink, clock)
  } catch (error) {
    const hint = `see that ${uplink.address} is the ingest port and that uplink.tls is as there; ${OFFLINE}`
    return fail('uplink', `${uplink.address} accepts connections but no gRPC: ${messageOf(error)}`, hint)
  }
  return ok('uplink', `${uplink.address} answers${uplink.insecure ? '' : ' over TLS'}`)
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

async function reachGrpc({ address, insecure, tls }: EdgeConfig['uplink'], clock: Clock): Promise<void> {
  const read = (file: string) => (file === '' ? null : readFile(file))
  const channelCredentials = insecure
    ? credentials.createInsecure()
    : credentials.createSsl(await read(tls.caFile), await read(tls.keyFile), await read(tls.certFile))
  const name = tls.serverName === '' ? {} : { 'grpc.ssl_target_name_override': tls.serverName }
  const client = new Client(address, channelCredentials, name)
  try {
    await new Promise<void>((resolve, reject) => {
      const deadline = new Date(clock.wallMs() + CONNECT_TIMEOUT_MS)
      client.waitForReady(deadline, (error) => (error ? reject(error) : resolve()))
    })
  } finally {
    client.close()
  }
}
