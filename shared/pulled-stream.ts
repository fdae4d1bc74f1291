/** Files of any length that are made while their reader takes them. */

/**
 * Bytes of chunks that are made as they are read. When making one fails the stream fails, so that the connection breaks off
 * before its proper end: a client never takes a part for the whole.
 * @param ended called once: at the end, at a failure, or when the reader has gone.
 */
export function pulledStream(
  chunks: AsyncGenerator<string, void, void>,
  signal: AbortSignal,
  ended: (failure: unknown) => void,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  let over = false
  const end = (failure: unknown): void => {
    if (over) return
    over = true
    signal.removeEventListener('abort', leave)
    ended(failure)
  }
  const leave = (): void => {
    end(null)
    // A page in hand is finished first; nothing reads another one.
    void chunks.return().catch(() => undefined)
  }
  signal.addEventListener('abort', leave)
  if (signal.aborted) leave()
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await chunks.next()
          if (over) return
          if (done !== true) return controller.enqueue(encoder.encode(value))
          controller.close()
          end(null)
        } catch (error) {
          if (over) return
          controller.error(error)
          end(error)
        }
      },
      cancel: leave,
    },
    // Nothing is made before it is asked for.
    { highWaterMark: 0 },
  )
}

/** The same chunks, the first of which has been made. @throws whatever making it throws */
export async function begun(chunks: AsyncGenerator<string, void, void>): Promise<AsyncGenerator<string, void, void>> {
  const first = await chunks.next()
  return (async function* () {
    if (first.done !== true) yield first.value
    yield* chunks
  })()
}
