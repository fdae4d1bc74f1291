/** What the API counts, in the registry of the process. */

import { Counter, Gauge, Histogram, type Registry } from 'prom-client'

export interface ApiMetrics {
  readonly requests: Counter<'method' | 'route' | 'status'>
  readonly requestSeconds: Histogram<'route'>
  readonly requestsRefused: Counter<'code'>
  readonly eventsSent: Counter<'channel'>
  readonly eventsMissed: Counter<'channel'>
  readonly clientsCut: Counter<'reason'>
  readonly valuesMalformed: Counter<'channel'>
  readonly chatDeliverySeconds: Histogram
}

export function createApiMetrics(
  registry: Registry,
  live: () => { clients: number; subscriptions: number },
): ApiMetrics {
  const registers = [registry]
  gauge(registry, 'busbar_api_websocket_clients', 'Connected WebSocket clients', () => live().clients)
  gauge(registry, 'busbar_api_subscriptions', 'Subscriptions of all WebSocket clients', () => live().subscriptions)
  return {
    requests: new Counter({
      name: 'busbar_api_requests_total',
      help: 'Answered requests; a WebSocket counts as one of status 101',
      labelNames: ['method', 'route', 'status'],
      registers,
    }),
    requestSeconds: new Histogram({
      name: 'busbar_api_request_duration_seconds',
      help: 'From the request to its answer',
      labelNames: ['route'],
      buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10],
      registers,
    }),
    requestsRefused: new Counter({
      name: 'busbar_api_requests_refused_total',
      help: 'Requests refused for who sent them or where they came from',
      labelNames: ['code'],
      registers,
    }),
    eventsSent: new Counter({
      name: 'busbar_api_events_sent_total',
      help: 'Events sent to WebSocket clients',
      labelNames: ['channel'],
      registers,
    }),
    eventsMissed: new Counter({
      name: 'busbar_api_events_missed_total',
      help: 'Events left out for clients that read too slowly; each was told how many',
      labelNames: ['channel'],
      registers,
    }),
    clientsCut: new Counter({
      name: 'busbar_api_clients_cut_total',
      help: 'WebSocket clients closed by this server: those that read too slowly, whose login ended, or that sent too much that was refused',
      labelNames: ['reason'],
      registers,
    }),
    valuesMalformed: new Counter({
      name: 'busbar_api_values_malformed_total',
      help: 'Values on the bus that no client could be sent',
      labelNames: ['channel'],
      registers,
    }),
    chatDeliverySeconds: new Histogram({
      name: 'busbar_chat_delivery_seconds',
      help: 'From when a message was sent until a socket of its recipient that was open then had it',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30],
      registers,
    }),
  }
}

function gauge(registry: Registry, name: string, help: string, read: () => number): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(read())
    },
  })
}
