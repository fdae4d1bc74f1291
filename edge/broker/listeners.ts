/** The ways in: TCP, TLS, and WebSocket with or without TLS. Each hands over transports; none knows MQTT. */

import { createServer as createHttpServer, type Server as HttpServer, type IncomingMessage } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { WebSocketServer } from 'ws'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { isLoopback } from '../../shared/loopback.ts'
import { type ListenerKind, SocketTransport, type Transport } from './transport.ts'
import { WebSocketTransport } from './websocket-transport.ts'

export interface Bind {
  readonly host: string
  /** 0 lets the system choose; `addresses()` of the broker tells which. */
  readonly port: number
}

export interface ServerTls {
  /** Certificate chain and key, PEM. */
  readonly cert: string
  readonly key: string
  /** Certificate authority of client certificates, PEM: clients are asked for one, and may do without. */
  readonly ca?: string | undefined
}

export interface ListenerOptions {
  readonly tcp?: Bind | undefined
  readonly tls?: (Bind & ServerTls) | undefined
  readonly websocket?: (Bind & { readonly tls?: ServerTls | undefined }) | undefined
}

export interface Listener {
  readonly kind: ListenerKind
  readonly address: AddressInfo
  /** Takes no one new; those who came in stay. */
  close(): void
}

/** Connections waiting to be accepted: a thousand devices return at once after a power cut. */
const BACKLOG = 1024
const MQTT_SUBPROTOCOL = 'mqtt'

/** @throws BusbarError INSECURE_LISTENER when others than this machine could reach a listener. */
export function refuseExposed({ tcp, tls, websocket }: ListenerOptions): void {
  const binds: (Bind | undefined)[] = [tcp, tls, websocket]
  const exposed = binds.find((bind) => bind !== undefined && !isLoopback(bind.host))
  if (exposed === undefined) return
  throw new BusbarError(`clients without a login would be let in on ${exposed.host}:${exposed.port}`, {
    code: 'INSECURE_LISTENER',
    hint: 'Bind 127.0.0.1, or set mqtt.insecure to false and give each device a login.',
  })
}

/**
 * Opens every listener of `options`, or none.
 * @param frameBytesMax largest WebSocket message, bytes.
 * @throws BusbarError LISTEN_FAILED, TLS_INVALID
 */
export async function openListeners(
  options: ListenerOptions,
  frameBytesMax: number,
  accept: (transport: Transport) => void,
): Promise<Listener[]> {
  const open: Listener[] = []
  try {
    const { tcp, tls, websocket } = options
    if (tcp !== undefined) {
      const server = createServer({ noDelay: true, keepAlive: true }, (socket) => {
        accept(new SocketTransport('tcp', socket, null))
      })
      open.push(await listen('tcp', server, tcp))
    }
    if (tls !== undefined) {
      const server = withTls('tls', tls, (settings) =>
        createTlsServer({ ...settings, noDelay: true, keepAlive: true }, (socket) => {
          accept(new SocketTransport('tls', socket, subjectOf(socket)))
        }),
      )
      open.push(await listen('tls', server, tls))
    }
    if (websocket !== undefined) open.push(await listenWebSocket(websocket, frameBytesMax, accept))
    return open
  } catch (error) {
    for (const listener of open) listener.close()
    throw error
  }
}

async function listenWebSocket(
  options: NonNullable<ListenerOptions['websocket']>,
  frameBytesMax: number,
  accept: (transport: Transport) => void,
): Promise<Listener> {
  const { tls } = options
  const server: HttpServer =
    tls === undefined ? createHttpServer() : withTls('websocket', tls, (settings) => createHttpsServer(settings))
  const webSockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    // A client may put several MQTT packets in a message; the frame guard judges those one by one.
    maxPayload: 2 * frameBytesMax,
    handleProtocols: () => MQTT_SUBPROTOCOL,
  })
  server.on('request', (_request, response) => {
    response.writeHead(426, { connection: 'close', upgrade: 'websocket' })
    response.end('This port speaks MQTT over WebSocket.\n')
  })
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    // [MQTT-6.0.0-3]: the client offers the subprotocol, or there is nothing to talk about.
    const offered = String(request.headers['sec-websocket-protocol'] ?? '').split(/\s*,\s*/)
    if (!offered.includes(MQTT_SUBPROTOCOL)) {
      socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')
      return
    }
    const remoteAddress = `${request.socket.remoteAddress}:${request.socket.remotePort}`
    const subject = tls?.ca === undefined ? null : subjectOf(request.socket as TLSSocket)
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      accept(new WebSocketTransport(webSocket, remoteAddress, subject))
    })
  })
  return listen('websocket', server, options)
}

function withTls<S>(kind: ListenerKind, tls: ServerTls, make: (settings: object) => S): S {
  try {
    return make({
      cert: tls.cert,
      key: tls.key,
      minVersion: 'TLSv1.2',
      ...(tls.ca === undefined ? {} : { ca: tls.ca, requestCert: true, rejectUnauthorized: false }),
    })
  } catch (error) {
    throw new BusbarError(`the ${kind} listener's certificate or key cannot be used: ${messageOf(error)}`, {
      code: 'TLS_INVALID',
      hint: 'Give a PEM certificate chain and the unencrypted PEM key that belongs to it.',
      cause: error,
    })
  }
}

function subjectOf(socket: TLSSocket): string | null {
  if (socket.authorized !== true) return null
  const subject = socket.getPeerCertificate?.()?.subject?.CN
  return typeof subject === 'string' ? subject : null
}

function listen(kind: ListenerKind, server: Server | HttpServer, bind: Bind): Promise<Listener> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: Error & { code?: string }) => {
      reject(
        new BusbarError(`cannot listen for MQTT (${kind}) on ${bind.host}:${bind.port}: ${error.message}`, {
          code: 'LISTEN_FAILED',
          hint: hintFor(error.code),
          cause: error,
        }),
      )
    })
    server.listen({ host: bind.host, port: bind.port, backlog: BACKLOG }, () => {
      server.removeAllListeners('error')
      // A failed accept (no file descriptors left) concerns one client; the listener goes on.
      server.on('error', () => undefined)
      resolve({ kind, address: server.address() as AddressInfo, close: () => void server.close() })
    })
  })
}

function hintFor(code: string | undefined): string {
  if (code === 'EADDRINUSE') return 'Another program has this port: stop it (often mosquitto), or choose another port.'
  if (code === 'EACCES') return 'Ports below 1024 need a privilege: choose a higher port.'
  if (code === 'EADDRNOTAVAIL') return 'This machine has no such address: bind one that it has, or 0.0.0.0.'
  return 'Check the host and port of this listener.'
}
