/** Prometheus metrics that are read from the parts when they are asked for, so that a hot path counts in plain numbers. */

import { Counter, Gauge, type Registry } from 'prom-client'

/** One number, or one for each set of label values. */
export type MetricReading =
  | number
  | readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[]

export interface Metrics {
  /** @param name without the prefix, with its unit: `spool_bytes`. */
  gauge(name: string, help: string, read: () => MetricReading, labelNames?: readonly string[]): void
  /** @param name without the prefix and without `_total`. `read` gives the total since the process began. */
  counter(name: string, help: string, read: () => MetricReading, labelNames?: readonly string[]): void
}

/** @param prefix of every name: `busbar_edge_`. */
export function metricsOf(registry: Registry, prefix: string): Metrics {
  return {
    gauge(name, help, read, labelNames = []) {
      new Gauge({
        name: prefix + name,
        help,
        labelNames: [...labelNames],
        registers: [registry],
        collect() {
          this.reset()
          for (const { labels, value } of readingsOf(read())) this.set(labels, value)
        },
      })
    },
    counter(name, help, read, labelNames = []) {
      new Counter({
        name: `${prefix}${name}_total`,
        help,
        labelNames: [...labelNames],
        registers: [registry],
        collect() {
          this.reset()
          for (const { labels, value } of readingsOf(read())) this.inc(labels, value)
        },
      })
    },
  }
}

/** Counts by some key as one reading each, under the label `label`. */
export function labelled(label: string, counts: Readonly<Record<string, number>>): MetricReading {
  return Object.entries(counts).map(([key, value]) => ({ labels: { [label]: key }, value }))
}

function readingsOf(reading: MetricReading): Exclude<MetricReading, number> {
  return typeof reading === 'number' ? [{ labels: {}, value: reading }] : reading
}
