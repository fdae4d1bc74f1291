/** Settings of the MQTT broker of the devices. */

import type { Static } from '@sinclair/typebox'
import { bytes, count, file, flag, host, KiB, milliseconds, port, section } from '../shared/config/keys.ts'
import type { CrossProblem } from '../shared/config/load.ts'
import { RECORD_BYTES_MAX } from '../shared/limits.ts'

/** Topic and headers of the longest PUBLISH, so that a payload of RECORD_BYTES_MAX fits in a frame. */
const MQTT_OVERHEAD_BYTES_MAX = 512

export const mqtt = section('The MQTT broker of the devices.', {
  insecure: flag(false, 'Let clients in without a password, as observers and as any device: only on a workbench'),
  frameBytesMax: bytes(
    RECORD_BYTES_MAX + MQTT_OVERHEAD_BYTES_MAX,
    [1 * KiB, RECORD_BYTES_MAX + MQTT_OVERHEAD_BYTES_MAX],
    'Largest MQTT packet after login; a larger one closes its connection',
  ),
  connectFrameBytesMax: bytes(4 * KiB, [256, 64 * KiB], 'Largest CONNECT packet, read before anyone is known'),
  connectionsMax: count(10_000, [1, 100_000], 'connections', 'Connections at one time; further ones are refused'),
  connectTimeoutMs: milliseconds(
    10_000,
    [500, 120_000],
    'How long a connection may take until its CONNECT is complete',
  ),
  slowSubscriberMs: milliseconds(
    2_000,
    [100, 60_000],
    'How long a subscriber may take nothing before it is disconnected, so that it delays nobody else',
  ),
  batchReadingsMax: count(
    1_000,
    [1, 100_000],
    'readings',
    'Readings in one published array; a longer one is kept whole and goes to the dead letters in the cloud',
  ),
  devicesMax: count(100_000, [1, 1_000_000], 'devices', 'Devices remembered for last seen and status'),
  sessionsMax: count(
    10_000,
    [1, 1_000_000],
    'sessions',
    'Durable sessions; one more ends the one that is away for longest',
  ),
  sessionExpiryDays: count(30, [1, 3_650], 'days', 'A durable session that stays away for so long ends'),
  sessionQueueMax: count(
    1_000,
    [1, 1_000_000],
    'messages',
    'Messages kept for a durable session that is away; then the oldest goes',
  ),
  retainedMax: count(10_000, [0, 1_000_000], 'messages', 'Retained messages; one on a further topic is not kept'),
  tcp: section('Plain MQTT.', {
    enabled: flag(true, 'Listen'),
    host: host('127.0.0.1', 'Address to listen on; beyond loopback passwords are sent in the clear'),
    port: port(1883, 'Port to listen on'),
  }),
  tls: section('MQTT over TLS.', {
    enabled: flag(false, 'Listen'),
    host: host('0.0.0.0', 'Address to listen on'),
    port: port(8883, 'Port to listen on'),
    certFile: file(
      'Certificate of the broker with its chain, PEM; none means the one of the site, see `busbar-edge ca`',
    ),
    keyFile: file('Private key of the certificate, PEM'),
    caFile: file('Certificates that devices are trusted by besides the authority of the site, PEM'),
  }),
  websocket: section('MQTT over WebSocket, for tools in a browser on site.', {
    enabled: flag(false, 'Listen'),
    host: host('127.0.0.1', 'Address to listen on'),
    port: port(8083, 'Port to listen on'),
  }),
})

/** What must hold between these settings. */
export function mqttProblems(settings: Static<typeof mqtt>): CrossProblem[] {
  const problems: CrossProblem[] = []
  const require = (holds: boolean, key: string, message: string) => {
    if (!holds) problems.push({ key, message })
  }
  require(settings.connectFrameBytesMax <=
    settings.frameBytesMax, 'mqtt.connectFrameBytesMax', 'must not exceed mqtt.frameBytesMax')
  const { tcp, tls, websocket } = settings
  require((tls.certFile === '') === (tls.keyFile === ''), tls.certFile === ''
    ? 'mqtt.tls.certFile'
    : 'mqtt.tls.keyFile', 'is required because the other of certFile and keyFile is set')
  require(tcp.enabled ||
    tls.enabled ||
    websocket.enabled, 'mqtt.tcp.enabled', 'must be true unless mqtt.tls or mqtt.websocket is enabled: devices could not connect')
  return problems
}
