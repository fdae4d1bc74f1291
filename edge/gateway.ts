/**
 * The composition root of the edge: every part, in the order in which the data flows.
 *
 *     devices ─MQTT─▶ broker ─▶ spool ─▶ uplink ═gRPC═▶ cloud
 *        ◀─QoS 2─ broker ◀─ inbox ◀─────── uplink ◀═gRPC═ cloud
 */

import type { Clock } from '../shared/clock.ts'
import { readPem } from '../shared/config/pem.ts'
import { HOUR_MS } from '../shared/durations.ts'
import { type Assembly, assemble } from '../shared/lifecycle.ts'
import type { Logger } from '../shared/log.ts'
import type { Random } from '../shared/random.ts'
import { VERSION } from '../shared/version.ts'
import { fileServerCertificate, siteServerCertificate } from './authority/server-certificate.ts'
import { Broker } from './broker/broker.ts'
import type { ListenerOptions } from './broker/listeners.ts'
import { LISTENER_KINDS } from './broker/transport.ts'
import { CommandInbox } from './commands/inbox.ts'
import { type DataPaths, dataPaths, type EdgeConfig } from './config.ts'
import { HealthServer } from './health/health-server.ts'
import type { BrokerSource, CertificateSource } from './health/sources.ts'
import { certificateStatus } from './identity/certificate-status.ts'
import { CertificateRenewal } from './identity/renewal.ts'
import { type GatewayCredentials, gatewayCredentials } from './identity/uplink-credentials.ts'
import { Spool } from './spool/spool.ts'
import { Uplink } from './uplink/uplink.ts'

export interface GatewayTools {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export function createGateway(config: EdgeConfig, tools: GatewayTools): Assembly {
  const { clock, log } = tools
  const { gateway, shutdown } = config
  const { insecure, tcp, tls: mqttTls, websocket, ...brokerLimits } = config.mqtt
  const paths = dataPaths(config)

  const { ageMaxHours, ...spoolSettings } = config.spool
  const spool = new Spool({
    ...spoolSettings,
    dir: paths.spoolDir,
    ageMaxMs: ageMaxHours * HOUR_MS,
    ...tools,
  })
  const broker = new Broker({
    listeners: listenersOf({ tcp, tls: mqttTls, websocket }, paths, tools),
    insecure,
    spool,
    credentials: { file: paths.credentialsFile },
    certificates: {
      authorityDir: paths.authorityDir,
      otherAuthorities: mqttTls.caFile === '' ? '' : readPem('mqtt.tls.caFile', mqttTls.caFile),
      required: mqttTls.clientCertificates === 'required',
    },
    sessions: { dir: paths.mqttDir },
    limits: brokerLimits,
    ...tools,
  })
  const inbox = new CommandInbox({
    ...config.commands,
    dir: paths.commandsDir,
    spool,
    outlet: broker.commands,
    ...tools,
  })
  const { enabled: uplinkEnabled, address, insecure: uplinkInsecure, tls, ...uplinkSettings } = config.uplink
  const credentials = gatewayCredentials(gateway.id, paths.identityDir, { address, insecure: uplinkInsecure, tls })
  const uplink = new Uplink({
    ...uplinkSettings,
    credentials,
    spool,
    inbox,
    gatewayId: gateway.id,
    softwareVersion: VERSION,
    ...tools,
  })
  const renewal =
    credentials.file === null
      ? null
      : new CertificateRenewal({ file: credentials.file, gatewayId: gateway.id, uplink, ...tools })
  const health = new HealthServer({
    host: config.health.host,
    port: config.health.port,
    gatewayId: gateway.id,
    version: VERSION,
    spoolBytesMax: config.spool.bytesMax,
    diskFreeBytesMin: config.spool.diskFreeBytesMin,
    sources: {
      spool,
      broker: brokerSource(broker, config),
      uplink: uplinkEnabled ? uplink : null,
      certificate: uplinkEnabled ? certificateSource(credentials, renewal, uplink, clock) : null,
      commands: inbox,
    },
    clock,
    log,
  })

  const uplinks = uplinkEnabled ? [uplink, ...(renewal === null ? [] : [renewal])] : []
  const healths = config.health.enabled ? [health] : []
  return assemble({
    startOrder: [spool, inbox, ...uplinks, broker, ...healths],
    // Who takes in stops first; the spool is last, since everyone before it may still write or acknowledge.
    stopOrder: [broker, ...uplinks, inbox, ...healths, spool],
    stopTimeoutMs: shutdown.timeoutMs,
    clock,
    log,
  })
}

function listenersOf(
  { tcp, tls, websocket }: Pick<EdgeConfig['mqtt'], 'tcp' | 'tls' | 'websocket'>,
  { authorityDir }: DataPaths,
  tools: GatewayTools,
): ListenerOptions {
  return {
    ...(tcp.enabled ? { tcp } : {}),
    ...(tls.enabled ? { tls } : {}),
    ...(websocket.enabled ? { websocket } : {}),
    certificate:
      tls.certFile === '' ? siteServerCertificate(authorityDir, tools) : fileServerCertificate('mqtt.tls', tls, tools),
  }
}

/** The certificate of the uplink as the health server asks about it. */
function certificateSource(
  credentials: GatewayCredentials,
  renewal: CertificateRenewal | null,
  uplink: Uplink,
  clock: Clock,
): CertificateSource {
  return {
    status: () => {
      const { connected, lastError, lastErrorCode, cloudWallMs } = uplink.stats()
      const renewing = renewal?.stats()
      return certificateStatus({
        source: credentials.source,
        validity: renewing?.validity ?? credentials.dialledWith(),
        renewAtMs: renewing?.renewAtMs ?? null,
        nowMs: cloudWallMs ?? clock.wallMs(),
        lastRenewalError: renewing?.lastError ?? null,
        renewalRefused: renewing?.refused ?? false,
        renewals: renewing?.renewals ?? 0,
        uplink: { connected, lastError, lastErrorCode },
      })
    },
  }
}

/** The broker as the health server asks about it. */
function brokerSource(broker: Broker, { mqtt }: EdgeConfig): BrokerSource {
  return {
    listeners: () => {
      const addresses = broker.addresses()
      return LISTENER_KINDS.filter((kind) => mqtt[kind].enabled).map((kind) => {
        const address = addresses[kind]
        const { host, port } = mqtt[kind]
        return { kind, host, port: address?.port ?? port, listening: address !== undefined }
      })
    },
    devices: () => broker.devices().map(({ lastSeenMs, ...device }) => ({ ...device, lastSeenWallMs: lastSeenMs })),
    stats: () => {
      const { connections, sessions, logins, publishes, refused, droppedDeliveries, ...stats } = broker.stats()
      const publishesReceived = Object.values(publishes).reduce((sum, count) => sum + count, 0)
      return {
        connections,
        sessions,
        connectionsAccepted: logins,
        publishesReceived,
        refused,
        dropped: droppedDeliveries,
        halfOpen: stats.halfOpen,
        throttled: stats.throttled,
        lockouts: stats.lockouts,
      }
    },
  }
}
