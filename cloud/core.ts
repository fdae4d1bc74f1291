/**
 * The composition root of the cloud: every part, in the order in which the data flows.
 *
 *     gateways ═gRPC═▶ ingest ─▶ bus ─▶ latest values ─▶ database ◀─ api ◀─REST, WebSocket─ console
 *                        └─▶ registry, cursors ─▶ database
 */

import type { Clock } from '../shared/clock.ts'
import { readTlsFiles } from '../shared/config/pem.ts'
import { type Assembly, assemble } from '../shared/lifecycle.ts'
import type { Logger } from '../shared/log.ts'
import type { Random } from '../shared/random.ts'
import { VERSION } from '../shared/version.ts'
import { Api } from './api/api.ts'
import { TopicSetup } from './bus/topic-setup.ts'
import { busFromConfig } from './bus-from-config.ts'
import type { CloudConfig } from './config.ts'
import { openDatabase } from './database/database.ts'
import { Gateways } from './gateways/gateways.ts'
import type { IngestTls } from './ingest/listener.ts'
import { Ingest } from './ingest/server.ts'
import { coreMetrics } from './metrics.ts'
import { Registry } from './registry/registry.ts'
import { LatestValues } from './telemetry/latest-values.ts'

export interface CoreTools {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export function createCore(config: CloudConfig, tools: CoreTools): Assembly {
  const { clock, log } = tools
  const database = openDatabase({ ...config.database, ...tools })
  const bus = busFromConfig(config, tools)
  const topics = new TopicSetup({ bus, ...tools })
  const registry = new Registry({ ...config.registry, database, ...tools })
  const gateways = new Gateways({ registry, clock })
  const { tls, ...ingestSettings } = config.ingest
  const ingest = new Ingest({
    ...ingestSettings,
    ...(tls.enabled ? { tls: readTlsFiles('ingest.tls', tls) as IngestTls } : {}),
    bus,
    database,
    registry,
    gateways,
    ...tools,
  })
  const latest = new LatestValues({ bus, database, registry, clock, log })
  const { bodyBytesMax, ...apiSettings } = config.api
  const api = new Api({
    ...apiSettings,
    limits: { ...config.websocket, bodyBytesMax },
    registry,
    latest,
    database,
    bus,
    dependencies: [
      { name: 'database', health: () => database.health() },
      { name: 'bus', health: () => bus.health() },
    ],
    metrics: coreMetrics({ ingest, bus, gateways, latest }),
    version: VERSION,
    clock,
    log,
  })

  return assemble({
    // The API comes early: while the bus is awaited its health says so. Consumers come last: after a crash a group may
    // take half a minute to let its new member in, and gateways need not wait for that.
    startOrder: [database, registry, bus, api, topics, ingest, latest],
    // Who takes in stops first; the database is last, since everyone before it may still write.
    stopOrder: [ingest, topics, api, latest, registry, bus, database],
    stopTimeoutMs: config.shutdown.timeoutMs,
    clock,
    log,
  })
}
