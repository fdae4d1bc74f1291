/** The ways in: TCP, TLS, and WebSocket with or without TLS. Each hands over transports; none knows MQTT. */

import type { X509Certificate } from 'node:crypto'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { isLoopback } from '../../shared/loopback.ts'
import type { ServerCertificate, ServerCertificateSource } from '../authority/server-certificate.ts'
import type { Gate, Visit } from './gate.ts'
import type { BrokerLimits } from './limits.ts'
import { createSecureServer, renewCertificate } from './tls-server.ts'
import { type ListenerKind, SocketTransport, type Transport } from './transport.ts'
import { WebSocketTransport } from './websocket-transport.ts'
import { upgradeWebSocket } from './websocket-upgrade.ts'

export interface Bind {
  readonly host: string
  /** 0 lets the system choose; `addresses()` of the broker tells which. */
  readonly port: number
}

export interface ListenerOptions {
  readonly tcp?: Bind | undefined
  readonly tls?: Bind | undefined
  /** Without origins no page's script may connect. */
  readonly websocket?: (Bind & { readonly tls?: boolean; readonly allowedOrigins?: readonly string[] }) | undefined
  /** What the listeners with TLS show; they need it. */
  readonly certificate?: ServerCertificateSource | undefined
}

export interface ListenerTools {
  readonly gate: Gate
  readonly limits: BrokerLimits
  readonly clock: Clock
  /** PEM of those who sign certificates of clients; without any, clients are not asked for one. */
  readonly clientAuthorities: readonly string[]
}

export interface Listener {
  readonly kind: ListenerKind
  readonly address: AddressInfo
  /** Shows another certificate to those who come from now on; nothing without TLS. */
  renew(certificate: ServerCertificate): void
  /** Takes no one new; those who came in stay. */
  close(): void
}

/** Takes a socket whose bytes are the client's own; whatever it does, `visit` ends with the socket. */
type Taker = (socket: Socket, visit: Visit, certificate: X509Certificate | null) => void

/** Connections waiting to be accepted: a thousand devices return at once after a power cut. */
const BACKLOG = 1024

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

/** Says what whoever set the listeners up may not have meant: that others can listen in, or that nobody else gets here. */
export function warnOfReach({ tcp, tls, websocket }: ListenerOptions, insecure: boolean, log: Logger): void {
  const exposed = (bind: Bind | undefined) => bind !== undefined && !isLoopback(bind.host)
  for (const bind of [tcp, websocket?.tls === true ? undefined : websocket]) {
    if (bind === undefined || !exposed(bind)) continue
    const where = `${bind.host}:${bind.port}`
    log.warn({ where }, 'passwords and readings can be heard on the network; mqtt.tls and websocket.tls end that')
  }
  if (insecure || [tcp, tls, websocket].some(exposed)) return
  log.warn('only this machine can connect by MQTT: devices elsewhere need mqtt.tls.enabled, or mqtt.tcp.host "0.0.0.0"')
}

/**
 * Opens every listener of `options`, or none.
 * @throws BusbarError LISTEN_FAILED, TLS_INVALID, CONFIG_NO_CERTIFICATE and what else the source of certificates throws
 */
export async function openListeners(
  options: ListenerOptions,
  tools: ListenerTools,
  accept: (transport: Transport) => void,
): Promise<Listener[]> {
  const { tcp, tls, websocket, certificate } = options
  const open: Listener[] = []
  const shown = tls !== undefined || websocket?.tls === true ? await certificate?.load() : undefined
  try {
    if (tcp !== undefined) {
      const take: Taker = (socket, visit) => accept(new SocketTransport('tcp', socket, visit, null))
      open.push(await listen('tcp', plainServer(tools, take), tcp))
    }
    if (tls !== undefined) {
      const take: Taker = (socket, visit, shownByClient) =>
        accept(new SocketTransport('tls', socket, visit, shownByClient))
      open.push(await listen('tls', secureServer('tls', tools, shown, take), tls))
    }
    if (websocket !== undefined) {
      const { allowedOrigins = [] } = websocket
      const take: Taker = (socket, visit) =>
        upgradeWebSocket(socket, { ...tools, visit, allowedOrigins }, (rest) =>
          accept(new WebSocketTransport(socket, visit, rest)),
        )
      // A browser would ask its user for a certificate; whoever comes by WebSocket has a password.
      const secured = { ...tools, clientAuthorities: [] }
      const server = websocket.tls === true ? secureServer('websocket', secured, shown, take) : plainServer(tools, take)
      open.push(await listen('websocket', server, websocket))
    }
    return open
  } catch (error) {
    for (const listener of open) listener.close()
    throw error
  }
}

function plainServer({ gate }: ListenerTools, take: Taker): Server {
  return createServer({ noDelay: true, keepAlive: true }, (socket) => {
    // A reset is an ordinary end of a connection; 'close' follows.
    socket.on('error', () => socket.destroy())
    const visit = gate.arrive(socket.remoteAddress, () => socket.destroy())
    if (visit === null) {
      socket.destroy()
      return
    }
    socket.once('close', () => visit.left())
    take(socket, visit, null)
  })
}

function secureServer(
  kind: ListenerKind,
  tools: ListenerTools,
  shown: ServerCertificate | undefined,
  take: Taker,
): Server {
  if (shown === undefined) {
    throw new BusbarError(`the ${kind} listener has no certificate`, {
      code: 'TLS_INVALID',
      hint: 'Give a PEM certificate chain and the unencrypted PEM key that belongs to it.',
    })
  }
  return createSecureServer(kind, shown, tools, (socket: TLSSocket, visit) =>
    take(socket, visit, certificateOf(socket)),
  )
}

/** What the client showed, if anything; it is judged when it logs in. */
function certificateOf(socket: TLSSocket): X509Certificate | null {
  return socket.getPeerX509Certificate?.() ?? null
}

function listen(kind: ListenerKind, server: Server, bind: Bind): Promise<Listener> {
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
      resolve({
        kind,
        address: server.address() as AddressInfo,
        renew: (certificate) => renewCertificate(kind, server, certificate),
        close: () => void server.close(),
      })
    })
  })
}

function hintFor(code: string | undefined): string {
  if (code === 'EADDRINUSE') return 'Another program has this port: stop it (often mosquitto), or choose another port.'
  if (code === 'EACCES') return 'Ports below 1024 need a privilege: choose a higher port.'
  if (code === 'EADDRNOTAVAIL') return 'This machine has no such address: bind one that it has, or 0.0.0.0.'
  return 'Check the host and port of this listener.'
}
