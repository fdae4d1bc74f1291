/**
 * Many gateways with many meters behind one core or several: each gateway and core a process, and a balancer between them that
 * can be cut. One core runs on its embedded bus and SQLite, several on a real Kafka and a real PostgreSQL.
 */

import { rm } from 'node:fs/promises'
import type { BehaviourOptions } from '../simulation/command-behaviour.ts'
import { type CloudProcess, startCloud } from './cloud-process.ts'
import { type EdgeProcess, startEdge } from './edge-process.ts'
import { getJson } from './json-request.ts'
import { startKafka, type TestKafka } from './kafka.ts'
import { type Link, openLink } from './link.ts'
import { MeterFleet } from './meter-fleet.ts'
import { startPostgres, type TestPostgres } from './postgres.ts'
import type { TomlTable } from './toml.ts'
import { until } from './until.ts'

export interface FleetSiteOptions {
  readonly gateways: number
  readonly metersPerGateway: number
  readonly cores: number
  readonly behaviour: BehaviourOptions
  /** Laid over the config of each core. */
  readonly cloudConfig?: TomlTable
}

export interface FleetSite {
  /** Null with one core. */
  readonly kafka: TestKafka | null
  readonly cores: readonly CloudProcess[]
  readonly edges: readonly EdgeProcess[]
  readonly fleets: readonly MeterFleet[]
  /** Between gateways and cores. */
  readonly link: Link
  readonly serialNumbers: readonly string[]
  stop(): Promise<void>
}

const CATCH_UP_MS = 120_000

/** Resolves when every meter is registered and takes commands. */
export async function startFleetSite(options: FleetSiteOptions): Promise<FleetSite> {
  const { gateways, metersPerGateway, behaviour } = options
  const several = options.cores > 1
  const kafka = several ? await startKafka() : null
  const postgres = several ? ((await startPostgres()) as TestPostgres) : null
  const backends =
    kafka === null || postgres === null ? {} : { kafkaBrokers: kafka.brokers, databaseUrl: await postgres.freshUrl() }
  const cores: CloudProcess[] = []
  for (let i = 0; i < options.cores; i++) {
    cores.push(await startCloud({ ...backends, config: options.cloudConfig ?? {} }))
  }
  const link = await openLink({ targets: cores.map(({ ingestPort }) => ({ port: ingestPort })) })
  const edges: EdgeProcess[] = []
  const fleets: MeterFleet[] = []
  for (let gateway = 0; gateway < gateways; gateway++) {
    const edge = await startEdge({
      gatewayId: `gateway-${gateway}`,
      uplinkPort: link.port,
      // Data concentrators, each of which speaks for many meters.
      config: { mqtt: { insecure: true } },
    })
    const serialNumbers = Array.from({ length: metersPerGateway }, (_, i) => `MTR-${gateway}-${i}`)
    const fleet = new MeterFleet({ port: edge.mqttPort, siteId: gateway + 1, serialNumbers, behaviour })
    await fleet.start()
    await fleet.announce()
    edges.push(edge)
    fleets.push(fleet)
  }
  const serialNumbers = fleets.flatMap((_, gateway) =>
    Array.from({ length: metersPerGateway }, (_, i) => `MTR-${gateway}-${i}`),
  )
  const api = cores[0]?.apiUrl
  await until(async () => (await knownMeters(api as string)) === serialNumbers.length, {
    timeoutMs: CATCH_UP_MS,
    pollMs: 500,
    what: `${serialNumbers.length} meters are registered`,
  })
  return {
    kafka,
    cores,
    edges,
    fleets,
    link,
    serialNumbers,
    async stop() {
      await Promise.all(fleets.map((fleet) => fleet.stop()))
      for (const edge of edges) if (edge.running) await edge.kill('SIGKILL')
      await link.close()
      for (const core of cores) if (core.running) await core.kill('SIGKILL')
      await kafka?.stop()
      await postgres?.stop()
      for (const { dir } of [...edges, ...cores]) await rm(dir, { recursive: true, force: true })
    },
  }
}

async function knownMeters(apiUrl: string): Promise<number> {
  let count = 0
  let cursor: string | null = null
  do {
    const query: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`
    const { body } = await getJson(`${apiUrl}/api/v1/devices?limit=500${query}`)
    count += body.items.length
    cursor = body.nextCursor
  } while (cursor !== null)
  return count
}
