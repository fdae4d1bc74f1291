/** The thread of the embedded log: answers one request after the other, so a slow disk never stalls the caller's loop. */

import { messageOf } from '../../../shared/errors.ts'
import { sqliteCode } from '../../../shared/sqlite.ts'
import type { FromWorker, LogReplies, LogRequest, LogState, ToWorker } from './log-protocol.ts'
import { LogStore } from './log-store.ts'

declare const self: Worker

let store: LogStore | null = null

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  const transfer: ArrayBuffer[] = []
  let message: FromWorker
  try {
    message = { id: data.id, reply: answer(data.request, transfer) }
  } catch (error) {
    message = { id: data.id, failure: { code: sqliteCode(error), message: messageOf(error) } }
  }
  self.postMessage(message, transfer)
}

function answer(request: LogRequest, transfer: ArrayBuffer[]): LogReplies[keyof LogReplies] {
  if (request.kind === 'open') {
    store = new LogStore(request.path, request.bytesMax)
    return stateOf(store)
  }
  if (request.kind === 'close') {
    store?.close()
    store = null
    return null
  }
  if (store === null) throw new Error('the log is not open')
  switch (request.kind) {
    case 'createTopics':
      store.createTopics(request.topics)
      return stateOf(store)
    case 'commit':
      return { storedBytes: store.commit(request.batches, request.offsets) }
    case 'read': {
      const result = store.read(request.topic, request.partition, request.offset, request.bytesMax)
      for (const { body } of result.batches) transfer.push(body.buffer)
      return result
    }
    case 'retain':
      return store.retain(request.nowMs)
  }
}

function stateOf(log: LogStore): LogState {
  return { topics: log.topics(), partitions: log.partitionStates(), offsets: log.groupOffsets() }
}
