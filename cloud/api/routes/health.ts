/** Probes and metrics, outside /api/v1: what runs the process asks these, not people. */

import { Type } from '@sinclair/typebox'
import type { Registry } from 'prom-client'
import { type Clock, sleep } from '../../../shared/clock.ts'
import { messageOf } from '../../../shared/errors.ts'
import type { DependencyHealth } from '../../bus/bus.ts'
import { type Caller, withinScopes } from '../../identity/identity.ts'
import { defineRoute, type Route } from '../http/route.ts'

/** Something the core needs, or is better with. */
export interface Dependency {
  readonly name: string
  health(): DependencyHealth | Promise<DependencyHealth>
  /** False when the core can do its work without; default true. */
  readonly required?: boolean
}

export interface HealthOptions {
  readonly dependencies: readonly Dependency[]
  readonly metrics: Registry
  readonly clock: Clock
  readonly version: string
  /** How long a dependency is waited for, milliseconds. */
  readonly timeoutMs: number
}

const LiveSchema = Type.Object({ status: Type.Literal('live'), version: Type.String() }, { $id: 'Live' })

export const ReadySchema = Type.Object(
  {
    status: Type.Union([Type.Literal('ready'), Type.Literal('not-ready')]),
    dependencies: Type.Array(
      Type.Object({
        name: Type.String(),
        state: Type.Union([Type.Literal('up'), Type.Literal('degraded'), Type.Literal('down')]),
        required: Type.Boolean(),
        detail: Type.Optional(
          Type.String({
            description: 'What is wrong and the next step; for viewers of every site, since it names addresses',
          }),
        ),
      }),
    ),
  },
  { $id: 'Ready' },
)

export function healthRoutes(options: HealthOptions): Route[] {
  const { dependencies, metrics, clock, version, timeoutMs } = options
  const tag = 'health'
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/health/live',
        operationId: 'getLive',
        tag,
        summary: 'Whether the process runs',
        permission: 'none',
        responses: { 200: { description: 'It runs', schema: LiveSchema } },
      },
      () => ({ status: 200, body: { status: 'live', version } }),
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/health/ready',
        operationId: 'getReady',
        tag,
        summary: 'Whether the core can do its work, and the state of everything it depends on',
        permission: 'none',
        responses: {
          200: { description: 'Everything it needs is there, perhaps not in full', schema: ReadySchema },
          503: { description: 'Something it needs is down', schema: ReadySchema },
        },
      },
      async ({ caller }) => {
        const states = await Promise.all(dependencies.map((dependency) => stateOf(dependency, clock, timeoutMs)))
        const ready = states.every(({ state, required }) => state !== 'down' || !required)
        const shown = maySeeDetails(caller) ? states : states.map(({ detail: _, ...state }) => state)
        return { status: ready ? 200 : 503, body: { status: ready ? 'ready' : 'not-ready', dependencies: shown } }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/metrics',
        operationId: 'getMetrics',
        tag,
        summary: 'Counters in the text format of Prometheus',
        permission: { role: 'viewer', scope: 'global' },
        responses: { 200: { description: 'All metrics', schema: Type.String(), mediaType: 'text/plain' } },
      },
      async () => new Response(await metrics.metrics(), { headers: { 'content-type': metrics.contentType } }),
    ),
  ]
}

/** The same as for /metrics. */
function maySeeDetails(caller: Caller): boolean {
  return caller.sites('viewer') === 'all' && withinScopes(caller, 'health', 'read')
}

interface DependencyState extends DependencyHealth {
  readonly name: string
  readonly required: boolean
}

/** A dependency that does not answer in time, or fails to tell, is down. */
async function stateOf(
  { name, health, required = true }: Dependency,
  clock: Clock,
  timeoutMs: number,
): Promise<DependencyState> {
  const answered = new AbortController()
  const late = sleep(clock, timeoutMs, answered.signal).then(
    (): DependencyHealth => ({ state: 'down', detail: `no answer within ${timeoutMs} ms` }),
  )
  try {
    const asked = Promise.resolve(health())
    return { name, required, ...(await Promise.race([asked, late])) }
  } catch (error) {
    return { name, required, state: 'down' as const, detail: messageOf(error) }
  } finally {
    answered.abort()
  }
}
