/** The gRPC server that gateways dial: address, certificates, limits of the transport. */

import { isIP } from 'node:net'
import {
  type Server as GrpcServer,
  type handleBidiStreamingCall,
  Server,
  ServerCredentials,
  type ServerOptions,
} from '@grpc/grpc-js'
import {
  SessionRequest,
  type SessionResponse,
  UplinkServiceService,
} from '../../proto/generated/busbar/edge/v1/uplink.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { GRPC_MESSAGE_BYTES_MAX } from '../../shared/limits.ts'
import { isLoopback } from '../../shared/loopback.ts'

/** Certificates and keys in PEM. */
export interface IngestTls {
  readonly cert: string | Uint8Array
  readonly key: string | Uint8Array
  /** What gateways are trusted by; when given, each needs a certificate with its id as the common name. */
  readonly ca?: string | Uint8Array
}

export interface ListenerOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  readonly tls?: IngestTls
  /** Plain text beyond loopback. */
  readonly insecure: boolean
  readonly keepaliveMs: number
  readonly keepaliveTimeoutMs: number
  readonly onSession: handleBidiStreamingCall<SessionRequest, SessionResponse>
}

/** A message that cannot be decoded becomes an empty one, which is refused by name, instead of an internal error. */
const SERVICE = {
  session: {
    ...UplinkServiceService.session,
    requestDeserialize: (bytes: Buffer): SessionRequest => {
      try {
        return SessionRequest.decode(bytes)
      } catch {
        return { message: undefined }
      }
    },
  },
}

/**
 * A server that listens, and the port it has.
 * @throws BusbarError INGEST_INSECURE, INGEST_TLS_INVALID, INGEST_LISTEN_FAILED
 */
export async function listen(
  options: ListenerOptions,
): Promise<{ readonly server: GrpcServer; readonly port: number }> {
  const { host, port } = options
  const credentials = credentialsOf(options)
  const serverOptions: ServerOptions = {
    'grpc.max_receive_message_length': GRPC_MESSAGE_BYTES_MAX,
    'grpc.max_send_message_length': GRPC_MESSAGE_BYTES_MAX,
    'grpc.keepalive_time_ms': options.keepaliveMs,
    'grpc.keepalive_timeout_ms': options.keepaliveTimeoutMs,
    'grpc.keepalive_permit_without_calls': 1,
    // A gateway has one stream.
    'grpc.max_concurrent_streams': 4,
  }
  const server = new Server(serverOptions)
  server.addService(SERVICE, { session: options.onSession })
  const address = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, boundPort) => {
      if (error === null) return resolve({ server, port: boundPort })
      const hint = `Stop what else listens on ${address}, or set ingest.host and ingest.port.`
      reject(
        new BusbarError(`the ingest cannot listen on ${address}: ${messageOf(error)}`, {
          code: 'INGEST_LISTEN_FAILED',
          hint,
          cause: error,
        }),
      )
    })
  })
}

function credentialsOf({ host, tls, insecure }: ListenerOptions): ServerCredentials {
  if (tls === undefined) {
    if (!insecure && !isLoopback(host)) {
      throw new BusbarError(`the ingest would listen on ${host} without TLS`, {
        code: 'INGEST_INSECURE',
        hint: 'Set ingest.tls, listen on 127.0.0.1, or set ingest.insecure on a network that you trust.',
      })
    }
    return ServerCredentials.createInsecure()
  }
  try {
    const pair = {
      private_key: Buffer.from(tls.key),
      cert_chain: Buffer.from(tls.cert),
    }
    const ca = tls.ca === undefined ? null : Buffer.from(tls.ca)
    return ServerCredentials.createSsl(ca, [pair], ca !== null)
  } catch (cause) {
    throw new BusbarError('the certificates of the ingest cannot be used', {
      code: 'INGEST_TLS_INVALID',
      hint: 'Check that ingest.tls.certFile, keyFile and caFile are PEM files and that the key belongs to the certificate.',
      cause,
    })
  }
}
