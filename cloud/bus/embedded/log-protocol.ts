/** What the bus and the thread of its log say to one another. Every request gets one reply with its id. */

export interface TopicSettings {
  readonly topic: string
  readonly partitions: number
  readonly retentionMs: number
}

export interface PartitionState {
  readonly topic: string
  readonly partition: number
  /** Offset that the next record will get. */
  readonly nextOffset: number
}

export interface GroupOffset {
  readonly group: string
  readonly topic: string
  readonly partition: number
  /** First offset that the group has not finished. */
  readonly nextOffset: number
}

/** A batch to append; its offsets are given by the store. */
export interface NewBatch {
  readonly topic: string
  readonly partition: number
  readonly recordCount: number
  readonly timestampMs: number
  /** See batch-body.ts. */
  readonly body: Uint8Array<ArrayBuffer>
}

export interface StoredBatch {
  readonly baseOffset: number
  readonly recordCount: number
  readonly timestampMs: number
  readonly body: Uint8Array<ArrayBuffer>
}

export interface RetainResult {
  readonly expiredRecords: number
  readonly evictedRecords: number
  readonly more: boolean
}

export type LogRequest =
  | { readonly kind: 'open'; readonly path: string; readonly bytesMax: number }
  | { readonly kind: 'createTopics'; readonly topics: readonly TopicSettings[] }
  | { readonly kind: 'commit'; readonly batches: readonly NewBatch[]; readonly offsets: readonly GroupOffset[] }
  | {
      readonly kind: 'read'
      readonly topic: string
      readonly partition: number
      readonly offset: number
      readonly bytesMax: number
    }
  | { readonly kind: 'retain'; readonly nowMs: number }
  | { readonly kind: 'close' }

export interface LogState {
  readonly topics: readonly TopicSettings[]
  readonly partitions: readonly PartitionState[]
  readonly offsets: readonly GroupOffset[]
}

export interface LogReplies {
  readonly open: LogState
  readonly createTopics: LogState
  readonly commit: { readonly storedBytes: number }
  readonly read: { readonly batches: readonly StoredBatch[]; readonly corrupt: number }
  readonly retain: RetainResult
  readonly close: null
}

export interface LogFailure {
  /** Result code of SQLite where it comes from there, such as `SQLITE_FULL`. */
  readonly code: string | null
  readonly message: string
}

export type ToWorker = { readonly id: number; readonly request: LogRequest }
export type FromWorker =
  | { readonly id: number; readonly reply: LogReplies[keyof LogReplies] }
  | { readonly id: number; readonly failure: LogFailure }
