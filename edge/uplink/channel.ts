/** One connection to the cloud: a gRPC client of its own for every dial, so that all waiting is the session's. */

import { isIP, type Socket } from 'node:net'
import {
  type ChannelCredentials,
  type ChannelOptions,
  connectivityState,
  credentials,
  type ServiceError,
  status,
} from '@grpc/grpc-js'
import { UplinkServiceClient } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import { BusbarError } from '../../shared/errors.ts'
import { GRPC_MESSAGE_BYTES_MAX } from '../../shared/limits.ts'

/** Certificates and keys in PEM. */
export interface UplinkTls {
  /** What the cloud is trusted by; the system's certificates when absent. */
  readonly ca?: string | Uint8Array
  /** This gateway's certificate; its common name is the gateway's id. */
  readonly cert?: string | Uint8Array
  readonly key?: string | Uint8Array
  /** Name that the cloud's certificate carries; the host of the address when absent. */
  readonly serverName?: string
}

export interface ChannelSettings {
  /** host:port */
  readonly address: string
  readonly tls?: UplinkTls
  readonly keepaliveMs: number
  readonly keepaliveTimeoutMs: number
}

export interface Channel {
  readonly client: UplinkServiceClient
  /**
   * Whether a call ended because our keepalive got no answer in time, rather than by the other side. To be asked when the call
   * tells the error.
   */
  timedOut(error: ServiceError): boolean
}

/**
 * A channel that has not dialled yet.
 * @throws BusbarError UPLINK_TLS_INVALID for certificates that cannot be used.
 */
export function createChannel(settings: ChannelSettings): Channel {
  const { address, tls } = settings
  const options: ChannelOptions = {
    'grpc.max_receive_message_length': GRPC_MESSAGE_BYTES_MAX,
    'grpc.max_send_message_length': GRPC_MESSAGE_BYTES_MAX,
    'grpc.keepalive_time_ms': settings.keepaliveMs,
    'grpc.keepalive_timeout_ms': settings.keepaliveTimeoutMs,
    'grpc.keepalive_permit_without_calls': 1,
    // Shared subchannels carry gRPC's own backoff from one dial to the next.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
    // No TXT look-up for a service config: it delays every dial behind a slow resolver.
    'grpc.service_config_disable_resolution': 1,
    'grpc.enable_http_proxy': 0,
  }
  if (tls === undefined) return channelOf(address, credentials.createInsecure(), options)
  const host = address.replace(/:[0-9]+$/, '').replace(/^\[(.*)\]$/, '$1')
  if (tls.serverName !== undefined) options['grpc.ssl_target_name_override'] = tls.serverName
  else if (isIP(host) !== 0) {
    throw new BusbarError(`the uplink address ${address} is an IP address, which TLS cannot check`, {
      code: 'UPLINK_TLS_INVALID',
      hint: 'Set uplink.tls.serverName to the name in the certificate of the cloud, or dial it by name.',
    })
  }
  try {
    return channelOf(address, credentials.createSsl(pem(tls.ca), pem(tls.key), pem(tls.cert)), options)
  } catch (cause) {
    throw new BusbarError('the certificates of the uplink cannot be used', {
      code: 'UPLINK_TLS_INVALID',
      hint: 'Check that uplink.tls.caFile, certFile and keyFile are PEM files and that the key belongs to the certificate.',
      cause,
    })
  }
}

/** Calls `onReady` once when the connection is up, unless the client is closed first; a failure is told by the call. */
export function whenReady(client: UplinkServiceClient, onReady: () => void): void {
  const channel = client.getChannel()
  const watch = (): void => {
    const state = channel.getConnectivityState(true)
    if (state === connectivityState.READY) onReady()
    else if (state !== connectivityState.SHUTDOWN)
      channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, watch)
  }
  watch()
}

function channelOf(address: string, secure: ChannelCredentials, options: ChannelOptions): Channel {
  const sockets = socketsOf(secure)
  return {
    client: new UplinkServiceClient(address, secure, options),
    // gRPC tells both in the same words. Its keepalive gives up a connection that is still open at this moment.
    timedOut: ({ code, details }) =>
      code === status.UNAVAILABLE &&
      details === 'Connection dropped' &&
      sockets.some(({ destroyed, readableEnded }) => !destroyed && !readableEnded),
  }
}

/** The sockets that a channel with these credentials connects, as it does; a dial may try several addresses. */
function socketsOf(secure: ChannelCredentials): readonly Socket[] {
  const sockets: Socket[] = []
  const createConnector = secure._createSecureConnector.bind(secure)
  secure._createSecureConnector = (...settings) => {
    const connector = createConnector(...settings)
    const connect = connector.connect.bind(connector)
    connector.connect = async (plain) => {
      const connected = await connect(plain)
      sockets.push(connected.socket)
      return connected
    }
    return connector
  }
  return sockets
}

function pem(value: string | Uint8Array | undefined): Buffer | null {
  return value === undefined ? null : Buffer.from(value)
}
