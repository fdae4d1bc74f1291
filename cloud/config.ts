/** Every setting of the cloud core: names, meanings, defaults and limits. Units are in the names or the description. */

import { type Static, Type } from '@sinclair/typebox'
import {
  ADDRESS_PATTERN,
  bytes,
  choice,
  count,
  directory,
  file,
  flag,
  GiB,
  host,
  KiB,
  list,
  logSection,
  MiB,
  milliseconds,
  port,
  secretText,
  section,
  shutdownSection,
  table,
  text,
} from '../shared/config/keys.ts'
import { type CrossProblem, loadConfig } from '../shared/config/load.ts'
import { BLOCK_BODY_BYTES_MAX } from '../shared/limits.ts'

export const CLOUD_ENV_PREFIX = 'BUSBAR_CLOUD_'
/** Names the config file where no --config does. */
export const CLOUD_CONFIG_VARIABLE = 'BUSBAR_CLOUD_CONFIG'

const LOOPBACK = /^(127\.\d+\.\d+\.\d+|::1|\[::1\]|localhost)$/

const ingest = section('Where gateways connect.', {
  host: host('127.0.0.1', 'Address to listen on'),
  port: port(7443, 'Port to listen on'),
  insecure: flag(false, 'Listen without TLS beyond loopback: only on a network that you trust'),
  creditBytes: bytes(
    8 * MiB,
    [BLOCK_BODY_BYTES_MAX, 1 * GiB],
    'Block data that a gateway may have on the way, unacknowledged',
  ),
  inflightBytesMax: bytes(
    256 * MiB,
    [4 * MiB, 64 * GiB],
    'Block data of all gateways that is not published yet; beyond it no further credit is given',
  ),
  gatewaysMax: count(10_000, [1, 1_000_000], 'gateways', 'Gateways connected at one time; further ones are refused'),
  futureToleranceMs: milliseconds(
    300_000,
    [0, 86_400_000],
    'How far in the future the timestamp of a reading may lie; beyond it the time of receipt is used',
  ),
  tls: section('TLS of the ingest listener.', {
    enabled: flag(false, 'Use TLS'),
    certFile: file('Certificate of this server with its chain, PEM'),
    keyFile: file('Private key of the certificate, PEM'),
    caFile: file('Certificates that gateways are trusted by, PEM; when set a gateway needs one of its own'),
  }),
})

const api = section('REST and WebSocket.', {
  host: host('127.0.0.1', 'Address to listen on; loopback only, because nobody logs in yet'),
  port: port(8080, 'Port to listen on'),
  allowedOrigins: list(
    [],
    'Web origins besides its own that may open a WebSocket',
    'origins such as "https://a.example"',
  ),
  bodyBytesMax: bytes(1 * MiB, [1 * KiB, 64 * MiB], 'Largest request body'),
})

const websocket = section('Live channels.', {
  connectionsMax: count(10_000, [1, 1_000_000], 'connections', 'Connections at one time; further ones are refused'),
  subscriptionsMax: count(100, [1, 10_000], 'subscriptions', 'Subscriptions of one connection'),
  bufferBytesMax: bytes(
    1 * MiB,
    [16 * KiB, 256 * MiB],
    'What may wait for a slow client; beyond it messages are dropped and the client is told how many',
  ),
  frameBytesMax: bytes(64 * KiB, [1 * KiB, 16 * MiB], 'Largest frame from a client'),
})

const kafka = section('Kafka; without brokers the embedded bus is used.', {
  brokers: list([], 'Addresses to begin with', 'host:port strings', ADDRESS_PATTERN),
  clientId: text('busbar-cloud', 'Name in the logs and quotas of the brokers', '1 to 64 characters', '^.{1,64}$'),
  compression: choice('gzip', ['none', 'gzip', 'snappy', 'lz4', 'zstd'], 'Compression of batches'),
  replicationFactor: count(1, [1, 9], 'replicas', 'Replicas of each topic that is created; 3 in production'),
  minInsyncReplicas: count(1, [1, 9], 'replicas', 'Replicas that must confirm a write; 2 in production'),
  devicePartitions: count(3, [3, 1_000], 'partitions', 'Partitions of the device topics when they are created'),
  publishTimeoutMs: milliseconds(30_000, [1_000, 600_000], 'How long a publish may take before it counts as failed'),
  breakerFailures: count(5, [1, 1_000], 'failures', 'Consecutive failures that open the circuit breaker'),
  breakerOpenMs: milliseconds(2_000, [100, 600_000], 'How long the breaker stays open before one send is tried'),
})

const bus = section('The embedded bus.', {
  dir: directory('./data/bus', 'Where its topics are kept'),
  bytesMax: bytes(16 * GiB, [16 * MiB, 2 ** 50], 'Size of all topics; beyond it publishing fails'),
})

const database = section('The database.', {
  url: secretText(
    'sqlite:./data/busbar.db',
    'SQLite file, or PostgreSQL where there is more than one core',
    '"sqlite:<path>" or "postgres://user:password@host:port/name"',
    '^(sqlite:.+|postgres(ql)?://.+)$',
  ),
})

const registry = section('Sites, gateways and devices.', {
  autoRegister: flag(true, 'Register a device when its first record arrives; otherwise its records are dead letters'),
  autoRegisterGateways: flag(true, 'Register a gateway when it first connects; otherwise it is refused'),
  cacheMs: milliseconds(30_000, [0, 3_600_000], 'How long what another core changed may go unseen'),
  deviceTypePrefixes: table(
    { INV: 'SOLAR_INVERTER', MTR: 'METER', METER: 'METER' },
    'Type of a device that registers itself, by the beginning of its serial number; otherwise UNKNOWN',
    'device types by prefix; what is set replaces the whole table',
  ),
})

export const CloudConfigSchema = Type.Object({
  ingest,
  api,
  websocket,
  kafka,
  bus,
  database,
  registry,
  log: logSection,
  shutdown: shutdownSection,
})
export type CloudConfig = Static<typeof CloudConfigSchema>

/**
 * @param file path of the TOML file, or undefined for environment and defaults alone.
 * @throws BusbarError CONFIG_INVALID, CONFIG_FILE_UNREADABLE
 */
export function loadCloudConfig(
  file: string | undefined,
  env: Readonly<Record<string, string | undefined>> = process.env,
): CloudConfig {
  return loadConfig({
    schema: CloudConfigSchema,
    file,
    env,
    envPrefix: CLOUD_ENV_PREFIX,
    ignoredVariables: [CLOUD_CONFIG_VARIABLE],
    check: crossProblems,
  })
}

function crossProblems(config: CloudConfig): CrossProblem[] {
  const { ingest, api, kafka } = config
  const problems: CrossProblem[] = []
  const require = (holds: boolean, key: string, message: string) => {
    if (!holds) problems.push({ key, message })
  }
  if (ingest.tls.enabled) {
    require(ingest.tls.certFile !== '', 'ingest.tls.certFile', 'is required because ingest.tls.enabled is true')
    require(ingest.tls.keyFile !== '', 'ingest.tls.keyFile', 'is required because ingest.tls.enabled is true')
  } else {
    require(ingest.insecure ||
      LOOPBACK.test(
        ingest.host,
      ), 'ingest.host', 'must be a loopback address unless ingest.tls.enabled or ingest.insecure is true')
  }
  require(LOOPBACK.test(api.host), 'api.host', 'must be a loopback address: nobody logs in yet')
  require(api.port === 0 || api.port !== ingest.port, 'api.port', 'must differ from ingest.port')
  require(ingest.creditBytes <=
    ingest.inflightBytesMax, 'ingest.creditBytes', 'must not exceed ingest.inflightBytesMax')
  require(kafka.minInsyncReplicas <=
    kafka.replicationFactor, 'kafka.minInsyncReplicas', 'must not exceed kafka.replicationFactor')
  return problems
}
