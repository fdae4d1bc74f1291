/** Settings of the MQTT broker of the devices. */

import type { Static } from '@sinclair/typebox'
import {
  bytes,
  choice,
  count,
  file,
  flag,
  host,
  KiB,
  list,
  milliseconds,
  port,
  section,
} from '../shared/config/keys.ts'
import type { CrossProblem } from '../shared/config/load.ts'
import { RECORD_BYTES_MAX } from '../shared/limits.ts'

/** Topic and headers of the longest PUBLISH, so that a payload of RECORD_BYTES_MAX fits in a frame. */
const MQTT_OVERHEAD_BYTES_MAX = 512

export const mqtt = section('The MQTT broker of the devices.', {
  insecure: flag(
    false,
    'Let clients in without a login, as observers and as any device; on loopback only: for a workbench',
  ),
  frameBytesMax: bytes(
    RECORD_BYTES_MAX + MQTT_OVERHEAD_BYTES_MAX,
    [1 * KiB, RECORD_BYTES_MAX + MQTT_OVERHEAD_BYTES_MAX],
    'Largest MQTT packet after login; a larger one closes its connection',
  ),
  connectFrameBytesMax: bytes(4 * KiB, [256, 64 * KiB], 'Largest CONNECT packet, read before anyone is known'),
  connectionsMax: count(
    10_000,
    [1, 100_000],
    'connections',
    'Connections at one time; one more takes the place of the oldest that has not logged in, or is refused',
  ),
  halfOpenMax: count(
    2_000,
    [1, 100_000],
    'connections',
    'Connections that have not logged in yet; one more ends the oldest of them',
  ),
  connectionsPerAddressMax: count(
    5_000,
    [1, 100_000],
    'connections',
    'Connections from one address, or one IPv6 network of 64 bits, but not from this machine; those that broke without a word count until their keepalive is over',
  ),
  connectionsPerLoginMax: count(1_000, [1, 100_000], 'connections', 'Connections of one login'),
  connectRateMax: count(
    100,
    [1, 100_000],
    'connections a second',
    'New connections from one address on average; ten seconds of them may come at once',
  ),
  handshakeTimeoutMs: milliseconds(
    15_000,
    [500, 120_000],
    'How long a TLS handshake may take; a slow gateway needs seconds for a thousand at once',
  ),
  connectTimeoutMs: milliseconds(
    10_000,
    [500, 120_000],
    'How long a connection may take until its CONNECT is complete',
  ),
  loginFailuresMax: count(
    10,
    [1, 1_000_000],
    'failures',
    'Failed logins of one username from one address within ten minutes, before it is locked out there',
  ),
  loginFailuresPerAddressMax: count(
    100,
    [1, 1_000_000],
    'failures',
    'Failed logins within ten minutes from an address that nobody is logged in from, before all of it is locked out; this machine never is',
  ),
  lockoutMs: milliseconds(30_000, [100, 3_600_000], 'How long a lockout lasts; the next one lasts twice as long'),
  lockoutMaxMs: milliseconds(900_000, [100, 86_400_000], 'How long a lockout lasts at most'),
  publishRateMax: count(
    10_000,
    [10, 1_000_000],
    'packets a second',
    'Packets of one client; a faster one is read no faster, and loses nothing',
  ),
  subscriptionsPerClientMax: count(
    100,
    [1, 100_000],
    'subscriptions',
    'Subscriptions of one client; further ones are refused',
  ),
  topicBytesMax: bytes(512, [128, 64 * KiB], 'Longest topic or topic filter; a longer one closes its connection'),
  topicLevelsMax: count(16, [5, 100], 'levels', 'Levels of a topic or topic filter; more close its connection'),
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
    'Durable sessions; one more ends the one that is away for longest, of the same login if it has any',
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
    clientCertificates: choice(
      'optional',
      ['optional', 'required'],
      'optional lets those without a certificate in by password, required does not',
    ),
    certFile: file(
      'Certificate of the broker with its chain, PEM; none means the one of the site, see `busbar-edge ca`',
    ),
    keyFile: file('Private key of the certificate, PEM'),
    caFile: file(
      'Certificates of those who sign certificates of clients, besides the authority of the site, PEM; from one of theirs that carries no name of ours, the common name is taken for a username',
    ),
  }),
  websocket: section('MQTT over WebSocket, for tools in a browser on site.', {
    enabled: flag(false, 'Listen'),
    host: host('127.0.0.1', 'Address to listen on'),
    port: port(8083, 'Port to listen on'),
    tls: flag(false, 'Speak TLS, with the certificate of mqtt.tls; clients log in by password'),
    allowedOrigins: list(
      [],
      'Origins of the web pages whose scripts may connect; tools that are no browser send none',
      'origins such as "https://scada.example.org"',
      '^https?://[^/]+$',
    ),
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
  require(settings.lockoutMs <= settings.lockoutMaxMs, 'mqtt.lockoutMs', 'must not exceed mqtt.lockoutMaxMs')
  require(tcp.enabled ||
    tls.enabled ||
    websocket.enabled, 'mqtt.tcp.enabled', 'must be true unless mqtt.tls or mqtt.websocket is enabled: devices could not connect')
  return problems
}
