/** The gRPC server that gateways dial: address, certificates, limits of the transport. */

import { isIP, type Socket } from 'node:net'
import { createSecureContext } from 'node:tls'
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
import { TLS_VERSION_MIN, TLS12_CIPHERS } from '../../shared/tls.ts'

/** Certificates and keys in PEM. */
export interface IngestTls {
  readonly cert: string
  readonly key: string
  /** What gateways are trusted by: each needs a certificate that leads to one of these. */
  readonly ca: string
}

export interface ListenerOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Plain text when absent, which is for loopback only. */
  readonly tls?: IngestTls
  /** How long a TLS handshake may take. */
  readonly handshakeTimeoutMs: number
  readonly keepaliveMs: number
  readonly keepaliveTimeoutMs: number
  readonly onSession: handleBidiStreamingCall<SessionRequest, SessionResponse>
  /** Before anything is known of it. */
  readonly onConnection: (socket: Socket) => void
  /** A handshake failed. @param code of the TLS library, such as CERT_SIGNATURE_FAILURE. */
  readonly onHandshakeFailed: (code: string, address: string) => void
}

export interface Listening {
  readonly server: GrpcServer
  readonly port: number
  /** New connections get this certificate. @throws BusbarError INGEST_TLS_INVALID; the old one stays then. */
  replaceTls(tls: IngestTls): void
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
 * A server that listens.
 * @throws BusbarError INGEST_INSECURE, INGEST_TLS_INVALID, INGEST_LISTEN_FAILED
 */
export async function listen(options: ListenerOptions): Promise<Listening> {
  const { host, port } = options
  const tls = tlsOf(options)
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
  const boundPort = await bind(server, address, tls ?? ServerCredentials.createInsecure())
  watchConnections(server, options)
  return { server, port: boundPort, replaceTls: (next) => tls?.replace(next) }
}

function bind(server: GrpcServer, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, boundPort) => {
      if (error === null) return resolve(boundPort)
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

/** The library tells of streams only: what happens before there is one is seen at the HTTP/2 servers that it made. */
function watchConnections(server: GrpcServer, { onConnection, onHandshakeFailed }: ListenerOptions): void {
  for (const http2Server of server['http2Servers'].keys()) {
    http2Server.on('connection', onConnection)
    http2Server.on('tlsClientError', (error: Error & { code?: string }, socket: Socket) => {
      onHandshakeFailed(error.code ?? 'UNKNOWN', socket.remoteAddress ?? 'unknown')
      socket.destroy()
    })
  }
}

/** mTLS that nothing below TLS 1.2 gets through, and whose certificate can be replaced while it listens. */
class MutualTls extends ServerCredentials {
  constructor(tls: IngestTls, handshakeTimeoutMs: number) {
    const rules = {
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: TLS_VERSION_MIN,
      ciphers: TLS12_CIPHERS,
    } as const
    super({ ...rules, handshakeTimeout: handshakeTimeoutMs }, contextOf(tls))
  }

  replace(tls: IngestTls): void {
    this.updateSecureContextOptions(contextOf(tls))
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other
  }
}

function contextOf({ cert, key, ca }: IngestTls) {
  const context = { cert, key, ca }
  try {
    // A server would take what is wrong and fail each handshake.
    createSecureContext(context)
    return context
  } catch (cause) {
    throw new BusbarError('the certificates of the ingest cannot be used', {
      code: 'INGEST_TLS_INVALID',
      hint: 'Check that ingest.tls.certFile, keyFile and caFile are PEM files and that the key belongs to the certificate.',
      cause,
    })
  }
}

function tlsOf({ host, tls, handshakeTimeoutMs }: ListenerOptions): MutualTls | null {
  if (tls !== undefined) return new MutualTls(tls, handshakeTimeoutMs)
  if (isLoopback(host)) return null
  throw new BusbarError(`the ingest would listen on ${host} without TLS`, {
    code: 'INGEST_INSECURE',
    hint: 'Without TLS it may listen on loopback only: set ingest.insecure to false, or ingest.host to 127.0.0.1.',
  })
}
