/** Every setting of the edge: names, meanings, defaults and limits. Units are in the names or in the description. */

import { isIP } from 'node:net'
import { join } from 'node:path'
import { type Static, Type } from '@sinclair/typebox'
import {
  ADDRESS_PATTERN,
  bytes,
  choice,
  count,
  directory,
  file,
  flag,
  fraction,
  GiB,
  host,
  KiB,
  logSection,
  MiB,
  milliseconds,
  port,
  requiredText,
  section,
  shutdownSection,
  text,
} from '../shared/config/keys.ts'
import { type CrossProblem, loadConfig, readConfig } from '../shared/config/load.ts'
import { renderConfig } from '../shared/config/show.ts'
import { isLoopback } from '../shared/loopback.ts'
import { mqtt, mqttProblems } from './config-mqtt.ts'

export const EDGE_ENV_PREFIX = 'BUSBAR_EDGE_'
/** Names the config file where no --config does. */
export const EDGE_CONFIG_VARIABLE = 'BUSBAR_EDGE_CONFIG'
/** Holds the token for `busbar-edge enroll`. */
export const ENROLMENT_TOKEN_VARIABLE = 'BUSBAR_EDGE_ENROLMENT_TOKEN'

const gateway = section('This gateway.', {
  id: requiredText(
    'gateway-1',
    'Name of this gateway, unique in the fleet; the cloud keeps what it received by it, so never change it',
    '1 to 64 letters, digits, ".", "_" or "-"',
    '^[A-Za-z0-9._-]{1,64}$',
  ),
  dataDir: directory(
    './data/edge',
    'Where the spool, the MQTT sessions, the commands and the device credentials are kept',
  ),
})

const spool = section('Records on disk that the cloud has not confirmed.', {
  bytesMax: bytes(8 * GiB, [16 * MiB, 2 ** 50], 'Size of the spool; beyond it the oldest telemetry is given up'),
  ageMaxHours: count(720, [1, 87_600], 'hours', 'Age of a record; an older one is given up'),
  diskFreeBytesMin: bytes(
    512 * MiB,
    [0, 2 ** 50],
    'Space to leave free on the disk; below it the oldest telemetry is given up',
  ),
  pendingBytesMax: bytes(
    16 * MiB,
    [1 * MiB, 1 * GiB],
    'Records taken in that the disk has not confirmed yet; beyond it reading from devices pauses',
  ),
  blockBytesMax: bytes(256 * KiB, [4 * KiB, 1 * MiB], 'Size of a block, the unit of storing and sending'),
  compressionLevel: count(1, [1, 19], 'zstd level', 'Compression of blocks'),
})

const uplink = section('The stream to the cloud.', {
  enabled: flag(true, 'Send what is stored; when off the spool only fills'),
  address: text(
    '',
    'Ingest address of the cloud; empty means the one that was told at enrolment',
    'host:port, or "" for none',
    `^$|${ADDRESS_PATTERN}`,
  ),
  insecure: flag(false, 'Dial the cloud without TLS, on loopback only: for a try'),
  order: choice(
    'live-first',
    ['live-first', 'strict'],
    'live-first sends new telemetry beside the backlog of an outage, strict sends oldest first',
  ),
  backfillShare: fraction(0.3, [0.05, 0.95], 'Share of the link that the backlog gets beside new telemetry'),
  backlogReportMs: milliseconds(5_000, [500, 600_000], 'How often the cloud is told how much is still to come'),
  keepaliveMs: milliseconds(1_000, [500, 600_000], 'Time between keepalives'),
  keepaliveTimeoutMs: milliseconds(1_000, [200, 600_000], 'How long an answer to a keepalive may take'),
  connectTimeoutMs: milliseconds(
    10_000,
    [500, 120_000],
    'How long dialling may take until the cloud admits the gateway',
  ),
  ackTimeoutMs: milliseconds(30_000, [1_000, 600_000], 'How long an acknowledgement may take before redialling'),
  backoffBaseMs: milliseconds(200, [10, 60_000], 'Upper bound of the first wait before redialling; it doubles'),
  backoffMaxMs: milliseconds(15_000, [100, 3_600_000], 'Upper bound of every wait before redialling'),
  tls: section('TLS to the cloud, where the certificate is not from `busbar-edge enroll`.', {
    caFile: file(
      'Certificates that the cloud is trusted by, PEM; none means the authority of the enrolment, or those of the system ' +
        'where certFile is set',
    ),
    certFile: file(
      'Certificate of this gateway, PEM, read again at every dial; none means the one from enrolment, which renews itself',
    ),
    keyFile: file('Private key of the certificate, PEM; nobody else may read it'),
    serverName: text(
      '',
      'Name that the certificate of the cloud carries; empty means the one that was told at enrolment, or the host of the ' +
        'address where certFile is set',
    ),
  }),
})

const commands = section('Commands of the cloud for the devices here.', {
  inboxMax: count(
    100_000,
    [100, 1_000_000],
    'commands',
    'Commands that are not finished; further ones are refused, and the cloud hands them over again later',
  ),
  keptDays: count(
    30,
    [1, 3_650],
    'days',
    'How long the id of a finished command is remembered, so that it is never carried out twice',
  ),
})

const health = section('HTTP: /health/live, /health/ready, /metrics and /status.', {
  enabled: flag(true, 'Listen; `busbar-edge status` asks there'),
  host: host('127.0.0.1', 'Address to listen on'),
  port: port(9464, 'Port to listen on'),
})

export const EdgeConfigSchema = Type.Object({
  gateway,
  mqtt,
  spool,
  uplink,
  commands,
  health,
  log: logSection,
  shutdown: shutdownSection,
})
export type EdgeConfig = Static<typeof EdgeConfigSchema>

const RETIRED = {
  'uplink.tls.enabled':
    'is no key any more, since TLS is always used: take it out, and where no uplink.tls.certFile is set enrol this gateway with ' +
    '`busbar-edge enroll`; only a cloud on this machine may be dialled without TLS, by uplink.insecure',
}

/**
 * @param file path of the TOML file, or undefined for environment and defaults alone.
 * @throws BusbarError CONFIG_INVALID, CONFIG_FILE_UNREADABLE
 */
export function loadEdgeConfig(
  file: string | undefined,
  env: Readonly<Record<string, string | undefined>> = process.env,
): EdgeConfig {
  return loadConfig(edgeOptions(file, env))
}

/** What `loadEdgeConfig` reads, as text for people, without its secrets. @throws as it does. */
export function showEdgeConfig(file: string | undefined, env: Readonly<Record<string, string | undefined>>): string {
  return renderConfig(readConfig(edgeOptions(file, env)), file)
}

function edgeOptions(file: string | undefined, env: Readonly<Record<string, string | undefined>>) {
  return {
    schema: EdgeConfigSchema,
    file,
    env,
    envPrefix: EDGE_ENV_PREFIX,
    ignoredVariables: [EDGE_CONFIG_VARIABLE, ENROLMENT_TOKEN_VARIABLE],
    retired: RETIRED,
    check: crossProblems,
  }
}

function crossProblems(config: EdgeConfig): CrossProblem[] {
  const { mqtt, spool, uplink } = config
  const problems: CrossProblem[] = []
  const require = (holds: boolean, key: string, message: string) => {
    if (!holds) problems.push({ key, message })
  }
  problems.push(...mqttProblems(mqtt))
  require(spool.blockBytesMax * 16 <=
    spool.bytesMax, 'spool.bytesMax', 'must hold at least 16 blocks of spool.blockBytesMax')
  require(uplink.backoffBaseMs <= uplink.backoffMaxMs, 'uplink.backoffBaseMs', 'must not exceed uplink.backoffMaxMs')
  require((uplink.tls.certFile === '') === (uplink.tls.keyFile === ''), uplink.tls.certFile === ''
    ? 'uplink.tls.certFile'
    : 'uplink.tls.keyFile', 'is required because the other of certFile and keyFile is set')
  require(uplink.address !== '' ||
    uplink.tls.certFile === '', 'uplink.address', 'is required with uplink.tls.certFile: it is told at enrolment only')
  require(uplink.tls.certFile === '' ||
    uplink.tls.serverName !== '' ||
    isIP(hostOf(uplink.address)) ===
      0, 'uplink.tls.serverName', 'is required while uplink.address is an IP address, which TLS cannot check')
  require(!uplink.insecure ||
    isLoopback(
      hostOf(uplink.address),
    ), 'uplink.insecure', 'may be true only while uplink.address is a loopback address')
  require(portsDiffer(config), 'mqtt', 'has two listeners on one port; give each its own')
  return problems
}

/** The host of `host:port`, without brackets. */
function hostOf(address: string): string {
  return address.replace(/:[0-9]+$/, '').replace(/^\[(.*)\]$/, '$1')
}

function portsDiffer(config: EdgeConfig): boolean {
  const { tcp, tls, websocket } = config.mqtt
  const ports = [tcp, tls, websocket, config.health].filter((each) => each.enabled && each.port !== 0)
  return new Set(ports.map((each) => each.port)).size === ports.length
}

/** Where the parts keep what is theirs below gateway.dataDir. */
export interface DataPaths {
  readonly spoolDir: string
  readonly mqttDir: string
  /** The inbox of commands. */
  readonly commandsDir: string
  /** Logins of the devices, see broker/credentials.ts. */
  readonly credentialsFile: string
  /** Key and certificate of this gateway, see identity/identity-file.ts. */
  readonly identityDir: string
  /** The certificate authority of the site. */
  readonly authorityDir: string
}

export function dataPaths({ gateway }: EdgeConfig): DataPaths {
  return {
    spoolDir: join(gateway.dataDir, 'spool'),
    mqttDir: join(gateway.dataDir, 'mqtt'),
    commandsDir: join(gateway.dataDir, 'commands'),
    credentialsFile: join(gateway.dataDir, 'credentials.json'),
    identityDir: join(gateway.dataDir, 'identity'),
    authorityDir: join(gateway.dataDir, 'authority'),
  }
}
