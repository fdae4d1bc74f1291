/**
 * Which records of a fetch were aborted. kafkajs takes the aborted transactions of a partition to be in the order in which
 * they began, and one to begin at each record; brokers send them in the order in which they ended, and a fetch may begin
 * within several. Then it hands over records that were never committed. So they are marked before it looks.
 */

/** What kafkajs has of a record. */
export interface FetchedMessage {
  readonly offset: string
  readonly key: Buffer | null
  /** Left out of what is handed over; its offset counts nevertheless. */
  isControlRecord: boolean
  readonly batchContext?: { readonly producerId: string; readonly inTransaction: boolean }
}

export interface FetchedPartition {
  abortedTransactions?: readonly { readonly producerId: string; readonly firstOffset: string }[] | null
  readonly messages: readonly FetchedMessage[]
}

/** Key of the control record that ends an aborted transaction: version 0, type 0. */
const ABORT_MARKER = Buffer.alloc(4)

/** Marks them as control records, and leaves nothing to do for kafkajs. */
export function markAborted(partition: FetchedPartition): void {
  const { abortedTransactions, messages } = partition
  if (abortedTransactions === null || abortedTransactions === undefined || abortedTransactions.length === 0) return
  const beginning = abortedTransactions
    .map(({ producerId, firstOffset }) => ({ producerId, firstOffset: BigInt(firstOffset) }))
    .sort((a, b) => (a.firstOffset < b.firstOffset ? -1 : a.firstOffset > b.firstOffset ? 1 : 0))
  const aborted = new Set<string>()
  let next = 0
  for (const message of messages) {
    const { batchContext } = message
    if (batchContext === undefined) continue
    const { producerId, inTransaction } = batchContext
    const offset = BigInt(message.offset)
    for (let begun = beginning[next]; begun !== undefined && begun.firstOffset <= offset; begun = beginning[next]) {
      aborted.add(begun.producerId)
      next++
    }
    if (message.isControlRecord) {
      if (message.key?.equals(ABORT_MARKER) === true) aborted.delete(producerId)
    } else if (inTransaction && aborted.has(producerId)) {
      message.isControlRecord = true
    }
  }
  partition.abortedTransactions = []
}
