/** Every setting of the cloud core: names, meanings, defaults and limits. Units are in the names or the description. */

import { type Static, Type } from '@sinclair/typebox'
import {
  ADDRESS_PATTERN,
  bytes,
  count,
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
  section,
  shutdownSection,
  table,
  text,
} from '../shared/config/keys.ts'
import { loadConfig, readConfig } from '../shared/config/load.ts'
import { renderConfig } from '../shared/config/show.ts'
import { BLOCK_BODY_BYTES_MAX } from '../shared/limits.ts'
import { activity } from './config-activity.ts'
import { alerts, consumers, deadLetters, notifications, status, telemetry } from './config-analytics.ts'
import { chat } from './config-chat.ts'
import { crossProblems } from './config-checks.ts'
import { bus, database, kafka } from './config-connections.ts'
import { approvals, authority, identity } from './config-identity.ts'

export const CLOUD_ENV_PREFIX = 'BUSBAR_CLOUD_'
/** Names the config file where no --config does. */
export const CLOUD_CONFIG_VARIABLE = 'BUSBAR_CLOUD_CONFIG'
/** Where the commands that ask a running core find it. */
export const CLOUD_URL_VARIABLE = 'BUSBAR_CLOUD_URL'
/** By what they trust it, and who they are towards it. */
export const CLOUD_CA_FILE_VARIABLE = 'BUSBAR_CLOUD_CA_FILE'
export const CLOUD_TOKEN_FILE_VARIABLE = 'BUSBAR_CLOUD_TOKEN_FILE'
export const CLOUD_TOKEN_VARIABLE = 'BUSBAR_CLOUD_TOKEN'
/** Not settings of the core. */
const COMMAND_LINE_VARIABLES = [
  CLOUD_CONFIG_VARIABLE,
  CLOUD_URL_VARIABLE,
  CLOUD_CA_FILE_VARIABLE,
  CLOUD_TOKEN_FILE_VARIABLE,
  CLOUD_TOKEN_VARIABLE,
]

const ingest = section('Where gateways connect.', {
  host: host('127.0.0.1', 'Address to listen on'),
  port: port(7443, 'Port to listen on'),
  publicAddress: text(
    '',
    'Address that gateways are told to dial when they enrol; empty means that their own config names it',
    'host:port, or "" for none',
    `^$|${ADDRESS_PATTERN}`,
  ),
  insecure: flag(false, 'Take gateways without TLS, on loopback only: for a try'),
  windowBytes: bytes(
    4 * MiB,
    [BLOCK_BODY_BYTES_MAX, 1 * GiB],
    'Block data that one gateway may have on the way, unacknowledged',
  ),
  inflightBytesMax: bytes(64 * MiB, [4 * MiB, 64 * GiB], 'The same for all gateways together'),
  decodedBytesMax: bytes(
    64 * MiB,
    [4 * MiB, 64 * GiB],
    'Memory for records between decoding and publishing, all gateways together; beyond it blocks wait',
  ),
  gatewaysMax: count(10_000, [1, 1_000_000], 'gateways', 'Gateways connected at one time; further ones are refused'),
  strangersMax: count(
    1_000,
    [10, 1_000_000],
    'connections',
    'Connections on which no gateway is admitted at one time; beyond it the oldest is cut',
  ),
  futureToleranceMs: milliseconds(
    300_000,
    [0, 86_400_000],
    'How far in the future the timestamp of a reading may lie; beyond it the time of receipt is used',
  ),
  helloTimeoutMs: milliseconds(
    10_000,
    [500, 600_000],
    'How long a gateway may take to introduce itself; a connection on which none did is kept for twice as long',
  ),
  keepaliveMs: milliseconds(10_000, [500, 600_000], 'Time between keepalives'),
  keepaliveTimeoutMs: milliseconds(20_000, [200, 600_000], 'How long an answer to a keepalive may take'),
  tls: section('TLS of the ingest listener; each gateway needs a certificate.', {
    certFile: file('Certificate of this server with its chain, PEM; none means one made by the authority of gateways'),
    keyFile: file('Private key of the certificate, PEM'),
    caFile: file('Certificates that gateways are trusted by besides the authority, PEM'),
  }),
})

const api = section('REST and WebSocket.', {
  host: host('127.0.0.1', 'Address to listen on; beyond loopback it wants api.tls or api.trustedProxies'),
  port: port(8080, 'Port to listen on'),
  insecure: flag(false, 'Ask nobody to log in, on loopback only: for a try'),
  publicUrl: text(
    '',
    'URL under which people reach it, for links and for the identity provider; empty means its own address',
    'an http or https URL without a path, or "" for none',
    '^(https?://[^/?#]+)?$',
  ),
  trustedProxies: list(
    [],
    'Proxies that end TLS in front of it: their X-Forwarded-For and -Proto are believed, and nobody else may connect but loopback',
    'IP addresses or networks such as "10.0.0.0/24"',
    '^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$',
  ),
  tls: section('TLS of REST and WebSocket.', {
    enabled: flag(false, 'Use TLS'),
    certFile: file('Certificate of this server with its chain, PEM; none means one made by the authority of gateways'),
    keyFile: file('Private key of the certificate, PEM'),
  }),
  allowedOrigins: list(
    [],
    'Web origins besides its own that may change things or open a WebSocket',
    'origins such as "https://a.example"',
  ),
  allowedHosts: list([], 'Host names besides loopback ones that requests may ask for', 'host names'),
  bodyBytesMax: bytes(1 * MiB, [1 * KiB, 64 * MiB], 'Largest request body; a larger one is answered 413'),
})

const websocket = section('Live channels.', {
  socketsMax: count(10_000, [1, 1_000_000], 'clients', 'Clients at one time; another one is answered 503'),
  socketsPerCallerMax: count(
    50,
    [1, 1_000_000],
    'clients',
    'Clients of one user or API key; another one is answered 429',
  ),
  recheckGraceMs: milliseconds(
    300_000,
    [1_000, 86_400_000],
    'A client whose login could not be looked at again for so long, since the database is away, is closed',
  ),
  subscriptionsMax: count(100, [1, 10_000], 'subscriptions', 'Subscriptions of one client'),
  clientBufferBytesMax: bytes(
    1 * MiB,
    [16 * KiB, 256 * MiB],
    'Events that may wait for a slow client; beyond it they are dropped and the client is told how many',
  ),
  clientBehindMaxMs: milliseconds(30_000, [1_000, 3_600_000], 'A client that stays behind for so long is closed'),
  frameBytesMax: bytes(
    64 * KiB,
    [1 * KiB, 16 * MiB],
    'Largest frame from a client; a larger one is refused, and beyond 1 MiB closes its socket',
  ),
})

const commands = section('Commands to devices, one by one and by task.', {
  allowUnknownTypes: flag(true, 'Take commands whose name is none of the known types, with any JSON as parameters'),
  allowUnknownDevices: flag(
    true,
    'Take single commands for devices that are not registered; only consumers of command.events learn of those',
  ),
  payloadBytesMax: bytes(
    16 * KiB,
    [256, 128 * KiB],
    'Largest parameters of a command, as JSON; larger ones are refused',
  ),
  expiryMs: milliseconds(
    86_400_000,
    [1_000, 2_592_000_000],
    'How long a command waits for its device where the request does not say',
  ),
  timeoutMs: milliseconds(
    60_000,
    [100, 86_400_000],
    'How long a device may take to answer where the request does not say; after that it is TIMED_OUT',
  ),
  answerGraceMs: milliseconds(
    300_000,
    [0, 604_800_000],
    'How long after expiry and timeout the cloud waits for what a gateway may still have to tell, before TIMED_OUT',
  ),
  windowCommands: count(
    500,
    [1, 10_000],
    'commands',
    'Commands handed to one gateway that it has not confirmed to have on disk; further ones wait',
  ),
  gatewayLeaseMs: milliseconds(
    10_000,
    [1_000, 600_000],
    'How long a core that died still counts as the one that has a gateway',
  ),
  outboxKeptHours: count(24, [0, 8_760], 'hours', 'How long what was published is kept in the outbox'),
  keptDays: count(90, [1, 3_650], 'days', 'How long finished commands and tasks are kept'),
})

const tasks = section('Tasks over many devices.', {
  devicesMax: count(10_000, [1, 100_000], 'devices', 'Devices of one task; a longer list is refused'),
  concurrency: count(
    1_000,
    [1, 100_000],
    'devices',
    'Devices of one task that may have its command at one time, where the request does not say',
  ),
  leaseMs: milliseconds(10_000, [1_000, 600_000], 'How long after its core died another one takes a task over'),
})

const registry = section('Sites, gateways and devices.', {
  autoRegister: flag(true, 'Register a device when its first record arrives; otherwise its records are dead letters'),
  autoRegisterGateways: flag(true, 'Register a gateway when it first connects; otherwise it is refused'),
  cacheMs: milliseconds(30_000, [0, 3_600_000], 'How long what another core changed may go unseen'),
  cacheDevicesMax: count(200_000, [1_000, 10_000_000], 'devices', 'Devices kept in memory, about 300 bytes each'),
  gatewaySilentAfterMs: milliseconds(
    60_000,
    [5_000, 86_400_000],
    'A gateway that was not heard of for longer is shown as not connected',
  ),
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
  identity,
  authority,
  approvals,
  registry,
  commands,
  tasks,
  telemetry,
  status,
  alerts,
  notifications,
  chat,
  activity,
  consumers,
  deadLetters,
  log: logSection,
  shutdown: shutdownSection,
})
export type CloudConfig = Static<typeof CloudConfigSchema>

const RETIRED = {
  'ingest.tls.enabled':
    'is no key any more, since TLS is always used: take it out; where no ingest.tls.certFile is set the core makes its ' +
    'certificate. Only on loopback may gateways come without TLS, by ingest.insecure',
}

/**
 * @param file path of the TOML file, or undefined for environment and defaults alone.
 * @throws BusbarError CONFIG_INVALID, CONFIG_FILE_UNREADABLE
 */
export function loadCloudConfig(
  file: string | undefined,
  env: Readonly<Record<string, string | undefined>> = process.env,
): CloudConfig {
  return loadConfig(cloudOptions(file, env))
}

/** What `loadCloudConfig` reads, as text for people, without its secrets. @throws as it does. */
export function showCloudConfig(file: string | undefined, env: Readonly<Record<string, string | undefined>>): string {
  return renderConfig(readConfig(cloudOptions(file, env)), file)
}

function cloudOptions(file: string | undefined, env: Readonly<Record<string, string | undefined>>) {
  return {
    schema: CloudConfigSchema,
    file,
    env,
    envPrefix: CLOUD_ENV_PREFIX,
    ignoredVariables: COMMAND_LINE_VARIABLES,
    retired: RETIRED,
    check: crossProblems,
  }
}
