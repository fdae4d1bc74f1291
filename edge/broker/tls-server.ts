/**
 * TLS for a listener. Clients are asked for a certificate and may do without; nobody is refused here for theirs: who shows a
 * bad one is told so in MQTT, where it is counted by reason. Handshakes that never end are cut.
 */

import type { Server } from 'node:net'
import { createServer, type TLSSocket, Server as TlsServer } from 'node:tls'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { TLS_VERSION_MIN, TLS12_CIPHERS } from '../../shared/tls.ts'
import type { ServerCertificate } from '../authority/server-certificate.ts'
import type { Visit } from './gate.ts'
import type { ListenerTools } from './listeners.ts'
import type { ListenerKind } from './transport.ts'

/** What a server remembers of how it was made, since a new certificate replaces all of it. */
const settingsOf = new WeakMap<Server, object>()

/** @throws BusbarError TLS_INVALID */
export function createSecureServer(
  kind: ListenerKind,
  certificate: ServerCertificate,
  { gate, limits, clock, clientAuthorities }: ListenerTools,
  take: (socket: TLSSocket, visit: Visit) => void,
): Server {
  const settings = {
    minVersion: TLS_VERSION_MIN,
    ciphers: TLS12_CIPHERS,
    ...(clientAuthorities.length === 0
      ? {}
      : { ca: [...clientAuthorities], requestCert: true, rejectUnauthorized: false }),
  } as const
  const server = usable(kind, () =>
    createServer({ ...settings, ...certificate, noDelay: true, keepAlive: true } as Parameters<typeof createServer>[0]),
  )
  settingsOf.set(server, settings)
  /** Those between accept and the end of their handshake. */
  const shaking = new Map<object, { readonly visit: Visit; done(): void }>()

  server.on('connection', (socket) => {
    socket.on('error', () => socket.destroy())
    const visit = gate.arrive(socket.remoteAddress, () => socket.destroy())
    if (visit === null) {
      socket.destroy()
      return
    }
    const timer = clock.after(limits.handshakeTimeoutMs, () => {
      gate.refuse('handshake-timeout', visit.remoteAddress)
      shaking.delete(socket)
      socket.destroy()
    })
    const done = (): void => {
      timer.cancel()
      shaking.delete(socket)
    }
    shaking.set(socket, { visit, done })
    socket.once('close', () => {
      done()
      visit.left()
    })
  })
  server.on('secureConnection', (socket: TLSSocket) => {
    const handshake = shaking.get(socket)
    // One that was turned away may still come to its end.
    if (handshake === undefined) {
      socket.destroy()
      return
    }
    handshake.done()
    take(socket, handshake.visit)
  })
  server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
    const handshake = shaking.get(socket)
    if (handshake === undefined) return
    handshake.done()
    gate.refuse('handshake-failed', handshake.visit.remoteAddress, { error: messageOf(error) })
    socket.destroy()
  })
  return server
}

/** @throws BusbarError TLS_INVALID; the server goes on with the certificate it had. */
export function renewCertificate(kind: ListenerKind, server: Server, certificate: ServerCertificate): void {
  if (!(server instanceof TlsServer)) return
  usable(kind, () => server.setSecureContext({ ...settingsOf.get(server), ...certificate }))
}

function usable<S>(kind: ListenerKind, make: () => S): S {
  try {
    return make()
  } catch (error) {
    throw new BusbarError(`the ${kind} listener's certificate or key cannot be used: ${messageOf(error)}`, {
      code: 'TLS_INVALID',
      hint: 'Give a PEM certificate chain and the unencrypted PEM key that belongs to it.',
      cause: error,
    })
  }
}
