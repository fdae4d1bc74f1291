/** The schemas that values were written with, by their ids: asked for once each, and kept, since an id never changes. */

import { putLast } from '../../../shared/bounded.ts'
import type { Clock } from '../../../shared/clock.ts'
import { AvroDecoder } from './avro-codec.ts'
import type { Shape } from './avro-shape.ts'
import type { RegisteredSchema, SchemaRegistry } from './schema-registry.ts'

/** Ids and topics; a topic has one more with each release. */
const KEPT_MAX = 1_000
/** An id that the registry does not have may be registered meanwhile. */
const UNKNOWN_KEPT_MS = 2_000

/** Why values of an id cannot be read. */
export type Unreadable = 'UNKNOWN_SCHEMA' | 'UNUSABLE_SCHEMA'

interface Kept {
  readonly decoder: AvroDecoder | Unreadable
  /** Monotonic. */
  readonly goodUntilMs: number
}

export class WriterSchemas {
  private readonly registry: Pick<SchemaRegistry, 'schemaOf'>
  private readonly oursOf: (topic: string) => Shape | null
  private readonly clock: Pick<Clock, 'monotonicMs'>
  private readonly kept = new Map<string, Kept>()
  private readonly asked = new Map<number, Promise<RegisteredSchema | null>>()

  constructor(
    registry: Pick<SchemaRegistry, 'schemaOf'>,
    oursOf: (topic: string) => Shape | null,
    clock: Pick<Clock, 'monotonicMs'>,
  ) {
    this.registry = registry
    this.oursOf = oursOf
    this.clock = clock
  }

  /** Undefined when it has to be asked for. */
  known(topic: string, id: number): AvroDecoder | Unreadable | undefined {
    const kept = this.kept.get(`${id} ${topic}`)
    return kept !== undefined && this.clock.monotonicMs() < kept.goodUntilMs ? kept.decoder : undefined
  }

  /** Those who ask for one id at once wait for one answer. @throws BusbarError as the registry does. */
  async learn(topic: string, id: number): Promise<AvroDecoder | Unreadable> {
    let asking = this.asked.get(id)
    if (asking === undefined) {
      asking = this.registry.schemaOf(id).finally(() => this.asked.delete(id))
      this.asked.set(id, asking)
    }
    const decoder = this.decoderOf(await asking, topic)
    const isFinal = decoder !== 'UNKNOWN_SCHEMA'
    const goodUntilMs = isFinal ? Number.POSITIVE_INFINITY : this.clock.monotonicMs() + UNKNOWN_KEPT_MS
    putLast(this.kept, `${id} ${topic}`, { decoder, goodUntilMs }, KEPT_MAX)
    return decoder
  }

  private decoderOf(schema: RegisteredSchema | null, topic: string): AvroDecoder | Unreadable {
    if (schema === null) return 'UNKNOWN_SCHEMA'
    if (schema.type !== 'AVRO' || schema.hasReferences) return 'UNUSABLE_SCHEMA'
    try {
      return new AvroDecoder(schema.text, this.oursOf(topic))
    } catch {
      return 'UNUSABLE_SCHEMA'
    }
  }
}
