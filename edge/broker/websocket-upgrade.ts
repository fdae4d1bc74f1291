/**
 * The HTTP request by which a connection becomes a WebSocket (RFC 6455, 4.2), read by hand: an HTTP server would hide
 * connections that send nothing, and anybody may open thousands of those.
 */

import { createHash } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Clock } from '../../shared/clock.ts'
import type { Gate, Visit } from './gate.ts'
import type { BrokerLimits } from './limits.ts'

export interface UpgradeOptions {
  readonly gate: Gate
  readonly visit: Visit
  readonly limits: BrokerLimits
  readonly clock: Clock
  /** Of pages whose scripts may connect. Browsers always name theirs; other tools have none. */
  readonly allowedOrigins: readonly string[]
}

type Upgrade =
  | { readonly kind: 'accept'; readonly key: string }
  | { readonly kind: 'refuse'; readonly status: string; readonly text: string; readonly origin?: string }

/** Request line and headers, bytes; browsers send about one kilobyte. */
const HEAD_BYTES_MAX = 8 * 1024
const END = '\r\n\r\n'
const MQTT_SUBPROTOCOL = 'mqtt'
/** RFC 6455, 1.3. */
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const HEADER = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/

/** @param upgraded with what the client sent after the request; called at most once, before anything else is read. */
export function upgradeWebSocket(socket: Socket, options: UpgradeOptions, upgraded: (rest: Buffer) => void): void {
  const { gate, visit, limits, clock } = options
  let received: Buffer = Buffer.alloc(0)
  const done = (): void => {
    timer.cancel()
    socket.off('data', take)
    socket.off('close', done)
  }
  const answer = (status: string, text: string): void => {
    done()
    const body = `${text}\n`
    const headers = `Connection: close\r\nUpgrade: websocket\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}`
    socket.end(`HTTP/1.1 ${status}\r\n${headers}${END}${body}`)
    // What it still sends is read and dropped, so that it gets the answer; for no longer than that takes.
    socket.resume()
    const late = clock.after(1000, () => socket.destroy())
    socket.once('close', () => late.cancel())
  }
  const take = (chunk: Buffer): void => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk])
    const end = received.indexOf(END)
    if (end < 0 && received.length <= HEAD_BYTES_MAX) return
    if (end < 0 || end > HEAD_BYTES_MAX) {
      gate.refuse('first-packet-not-connect', visit.remoteAddress)
      answer('431 Request Header Fields Too Large', 'This request is too long.')
      return
    }
    const upgrade = judgeUpgrade(received.toString('latin1', 0, end), options.allowedOrigins)
    if (upgrade.kind === 'refuse') {
      if (upgrade.origin !== undefined) gate.refuse('origin-denied', visit.remoteAddress, { origin: upgrade.origin })
      answer(upgrade.status, upgrade.text)
      return
    }
    done()
    const accept = createHash('sha1').update(`${upgrade.key}${ACCEPT_GUID}`).digest('base64')
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: ${MQTT_SUBPROTOCOL}${END}`,
    )
    upgraded(received.subarray(end + END.length))
  }
  const timer = clock.after(limits.connectTimeoutMs, () => {
    gate.refuse('connect-timeout', visit.remoteAddress)
    done()
    socket.destroy()
  })
  socket.on('data', take)
  socket.once('close', done)
}

/** Judges request line and headers. Pure. */
export function judgeUpgrade(head: string, allowedOrigins: readonly string[]): Upgrade {
  const [requestLine = '', ...lines] = head.split('\r\n')
  const bad = (text: string): Upgrade => ({ kind: 'refuse', status: '400 Bad Request', text })
  if (!/^[A-Z]+ [\x21-\x7e]+ HTTP\/1\.1$/.test(requestLine)) return bad('This port speaks MQTT over WebSocket.')
  const headers = new Map<string, string>()
  for (const line of lines) {
    const match = HEADER.exec(line)
    if (match === null) return bad('A header is malformed.')
    const name = (match[1] as string).toLowerCase()
    const value = match[2] as string
    const before = headers.get(name)
    headers.set(name, before === undefined ? value : `${before}, ${value}`)
  }
  const has = (name: string, token: string) => tokens(headers.get(name)).some((each) => each.toLowerCase() === token)
  if (!requestLine.startsWith('GET ') || !has('upgrade', 'websocket') || !has('connection', 'upgrade')) {
    return { kind: 'refuse', status: '426 Upgrade Required', text: 'This port speaks MQTT over WebSocket.' }
  }
  const origin = headers.get('origin')
  if (origin !== undefined && !allowedOrigins.some((each) => each.toLowerCase() === origin.toLowerCase())) {
    return { kind: 'refuse', status: '403 Forbidden', text: 'Pages of this origin may not connect.', origin }
  }
  const key = headers.get('sec-websocket-key') ?? ''
  if (headers.get('sec-websocket-version') !== '13' || !/^[A-Za-z0-9+/]{22}==$/.test(key)) {
    return bad('This is no request of version 13.')
  }
  // [MQTT-6.0.0-3]: the client offers the subprotocol, or there is nothing to talk about.
  if (!tokens(headers.get('sec-websocket-protocol')).includes(MQTT_SUBPROTOCOL)) {
    return bad('The subprotocol mqtt is not offered.')
  }
  return { kind: 'accept', key }
}

function tokens(value: string | undefined): string[] {
  return (value ?? '').split(',').map((each) => each.trim())
}
