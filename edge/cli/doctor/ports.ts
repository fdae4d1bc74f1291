/** Are the configured ports free, or held by the edge that runs here already; does its broker answer. */

import { connect, createServer } from 'node:net'
import type { Clock } from '../../../shared/clock.ts'
import { isLoopback } from '../../../shared/loopback.ts'
import type { EdgeConfig } from '../../config.ts'
import { readStatus } from '../status-client.ts'
import { type Finding, fail, ok, warn } from './finding.ts'

const ANSWER_TIMEOUT_MS = 2_000

/** MQTT 3.1.1 CONNECT, clean session, client id "doctor", no credentials: a broker answers with a CONNACK, if only to refuse. */
const CONNECT = Buffer.concat([
  Buffer.from([0x10, 0x12, 0x00, 0x04]),
  Buffer.from('MQTT'),
  Buffer.from([0x04, 0x02, 0x00, 0x0a, 0x00, 0x06]),
  Buffer.from('doctor'),
])
const CONNACK_TYPE = 0x20

export async function checkPorts(config: EdgeConfig, clock: Clock): Promise<Finding[]> {
  const running = await readStatus(config.health, clock).catch(() => null)
  const isOurs = running?.gatewayId === config.gateway.id
  const listeners = [
    { check: 'mqtt-tcp', key: 'mqtt.tcp', plain: true, ...config.mqtt.tcp },
    { check: 'mqtt-tls', key: 'mqtt.tls', plain: false, ...config.mqtt.tls },
    { check: 'mqtt-websocket', key: 'mqtt.websocket', plain: false, ...config.mqtt.websocket },
    { check: 'health-port', key: 'health', plain: false, ...config.health },
  ]
  const findings: Finding[] = checkReach(config)
  for (const { check, key, plain, enabled, host, port } of listeners) {
    if (!enabled) continue
    const where = `${host}:${port}`
    const code = await bindError(host, port)
    if (code === null) {
      findings.push(
        isOurs && port !== 0
          ? fail(check, `${where} is free although the edge runs`, 'read its log: the listener is down')
          : ok(check, `${where} is free`),
      )
    } else if (code !== 'EADDRINUSE') {
      findings.push(fail(check, `cannot listen on ${where}: ${code}`, `set ${key}.host and ${key}.port to what may be`))
    } else if (!isOurs) {
      const holder = running === null ? 'another program' : `the edge of gateway ${running.gatewayId}`
      findings.push(fail(check, `${where} is held by ${holder}`, `stop it (ss -ltnp shows it) or set ${key}.port`))
    } else {
      findings.push(plain ? await checkAnswer(check, host, port) : ok(check, `${where} is held by the running edge`))
    }
  }
  return findings
}

/** Can a device that is not this machine reach the broker. */
function checkReach({ mqtt }: EdgeConfig): Finding[] {
  const listens = [mqtt.tcp, mqtt.tls, mqtt.websocket].filter(({ enabled }) => enabled)
  if (mqtt.insecure || listens.some(({ host }) => !isLoopback(host))) return []
  const hint = 'set mqtt.tls.enabled to true; or mqtt.tcp.host to "0.0.0.0", where nobody else can listen in'
  return [warn('mqtt-reach', 'only this machine can connect by MQTT', hint)]
}

/** The error code of listening there, or null when it is possible. */
function bindError(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)))
  })
}

async function checkAnswer(check: string, host: string, port: number): Promise<Finding> {
  const where = `${host}:${port}`
  if (await answersConnect(host === '0.0.0.0' || host === '::' ? 'localhost' : host, port)) {
    return ok(check, `the running edge answers on ${where}`)
  }
  return warn(check, `the running edge does not answer on ${where}`, 'read its log; `busbar-edge status` shows more')
}

function answersConnect(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: ANSWER_TIMEOUT_MS }, () => socket.write(CONNECT))
    const end = (answered: boolean) => {
      socket.destroy()
      resolve(answered)
    }
    socket.once('data', (bytes: Buffer) => end(bytes[0] === CONNACK_TYPE))
    socket.once('timeout', () => end(false))
    socket.once('error', () => end(false))
    socket.once('close', () => end(false))
  })
}
