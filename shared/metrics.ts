/** Prometheus metrics that are read from the parts when they are asked for, so that a hot path counts in plain numbers. */

import { Counter, Gauge, Histogram, type Registry } from 'prom-client'

/** One number, or one for each set of label values. */
export type MetricReading =
  | number
  | readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[]

/** How large what was observed was: cumulative, as Prometheus has it. */
export interface HistogramReading {
  readonly sum: number
  readonly count: number
  /** By upper bound: how many were no larger. `+Inf` is `count`. */
  readonly buckets: Readonly<Record<string, number>>
}

export interface Metrics {
  /** @param name without the prefix, with its unit: `spool_bytes`. */
  gauge(name: string, help: string, read: () => MetricReading, labelNames?: readonly string[]): void
  /** @param name without the prefix and without `_total`. `read` gives the total since the process began. */
  counter(name: string, help: string, read: () => MetricReading, labelNames?: readonly string[]): void
  /** @param name without the prefix, with its unit: `delivery_seconds`. `read` gives the totals since the process began. */
  histogram(name: string, help: string, read: () => HistogramReading): void
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
    histogram(name, help, read) {
      registry.registerMetric(new ReadHistogram(prefix + name, help, read))
    },
  }
}

/** One that is counted elsewhere: the package's own can only be told of each observation. */
class ReadHistogram extends Histogram {
  private readonly described: { readonly name: string; readonly help: string }
  private readonly read: () => HistogramReading

  constructor(name: string, help: string, read: () => HistogramReading) {
    super({ name, help, registers: [] })
    this.described = { name, help }
    this.read = read
  }

  /** What the package asks, for text and otherwise. */
  async getForPromString(): Promise<object> {
    const { name, help } = this.described
    const { sum, count, buckets } = this.read()
    const bounds = Object.entries({ ...buckets, '+Inf': count }).toSorted(([a], [b]) => boundOf(a) - boundOf(b))
    const values = [
      ...bounds.map(([le, value]) => ({ metricName: `${name}_bucket`, labels: { le }, value })),
      { metricName: `${name}_sum`, labels: {}, value: sum },
      { metricName: `${name}_count`, labels: {}, value: count },
    ]
    return { name, help, type: 'histogram', aggregator: 'sum', values }
  }
}

function boundOf(le: string): number {
  return le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le)
}

/** Counts by some key as one reading each, under the label `label`. */
export function labelled(label: string, counts: Readonly<Record<string, number>>): MetricReading {
  return Object.entries(counts).map(([key, value]) => ({ labels: { [label]: key }, value }))
}

function readingsOf(reading: MetricReading): Exclude<MetricReading, number> {
  return typeof reading === 'number' ? [{ labels: {}, value: reading }] : reading
}
