/**
 * The spool's thread: takes requests one after the other and answers each. A slow disk stalls this thread and nothing
 * else. Entry module of a worker; a build of the binary must name it as an entry point.
 */

import { readFileSync } from 'node:fs'
import { assert, BusbarError, messageOf } from '../../shared/errors.ts'
import { systemRandom } from '../../shared/random.ts'
import { failureOf, readFailure, writeFailure } from './failures.ts'
import type { StoreOutcome, StoreReply, StoreRequest } from './messages.ts'
import { Store } from './store.ts'

declare const self: {
  onmessage: ((event: { readonly data: StoreRequest }) => void) | null
  postMessage(reply: StoreReply, transfer: ArrayBuffer[]): void
}

let store: Store | null = null
let bytesWritten = 0

self.onmessage = ({ data: request }) => {
  self.postMessage(...answer(request))
  store?.checkpointIfDue()
}

function answer(request: StoreRequest): [StoreReply, ArrayBuffer[]] {
  const { id } = request
  try {
    const outcome = perform(request)
    const transfer = outcome.items?.flatMap((item) => (item.kind === 'block' ? [item.data.buffer as ArrayBuffer] : []))
    return [{ id, failure: null, outcome, report: store?.report(bytesWritten) ?? null }, transfer ?? []]
  } catch (error) {
    return [{ id, failure: failureOf(asBusbarError(request, error)), report: reportAfterFailure() }, []]
  }
}

function perform(request: StoreRequest): StoreOutcome {
  const { now } = request
  if (request.kind === 'open') {
    store = new Store(request.options, systemRandom)
    store.open(now)
    return {}
  }
  assert(store !== null, 'the first request opens the store')
  switch (request.kind) {
    case 'commit':
      return store.commit(request.blocks, request.acks, now)
    case 'read':
      return { items: store.readAfter(request.read, now) }
    case 'tend':
      bytesWritten = bytesWrittenByThread()
      return { more: store.tend(request, now) }
    case 'close':
      store.close()
      store = null
      return {}
  }
}

function asBusbarError(request: StoreRequest, error: unknown): BusbarError {
  if (error instanceof BusbarError) return error
  if (request.kind !== 'read') return writeFailure(messageOf(error), error)
  return readFailure(error)
}

/** A damaged file was replaced: its successor's epoch must be known. Otherwise the last report stands. */
function reportAfterFailure(): StoreReply['report'] {
  try {
    return store?.report(bytesWritten) ?? null
  } catch {
    return null
  }
}

/** Includes what later never reached the disk because it was overwritten in the cache first; 0 where not Linux. */
function bytesWrittenByThread(): number {
  try {
    return Number(/wchar: (\d+)/.exec(readFileSync('/proc/thread-self/io', 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}
