/** `busbar-cloud activity export`: entries as a file, however many there are. */

import { once } from 'node:events'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import { formatBytes } from '../../shared/cli/format.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { ACTIVITIES_PATH } from './activity-filter.ts'
import type { ApiClient, Query } from './api-client.ts'
import { DrawnLine } from './drawn-line.ts'

export interface ExportFlags {
  readonly format: string
  readonly output?: string
}

/**
 * To a file that is there whole or not at all, and that only its owner may read: it has what is sealed in the database. Or to
 * standard output.
 */
export async function exportActivities(
  { format, output }: ExportFlags,
  filter: Query,
  { api, terminal, nowMs }: { readonly api: ApiClient; readonly terminal: Terminal; readonly nowMs: () => number },
): Promise<number> {
  const chunks = api.download(`${ACTIVITIES_PATH}/export`, { ...filter, format })
  if (output === undefined) {
    await toStandardOutput(chunks, terminal)
    return EXIT_OK
  }
  const line = new DrawnLine(terminal, nowMs)
  const bytes = await toFile(output, chunks, line)
  terminal.err(`${formatBytes(bytes)} in ${output}\n`)
  return EXIT_OK
}

/** Ends when nobody reads any more: who pipes into `head` has enough. */
async function toStandardOutput(chunks: AsyncIterable<Uint8Array>, { out }: Terminal): Promise<void> {
  const decoder = new TextDecoder()
  const gone = new AbortController()
  const { signal } = gone
  process.stdout.once('error', () => gone.abort())
  for await (const chunk of chunks) {
    out(decoder.decode(chunk, { stream: true }))
    // A reader that is slower than the core must not fill the memory.
    if (process.stdout.writableNeedDrain) await once(process.stdout, 'drain', { signal }).catch(() => undefined)
    if (signal.aborted) return
  }
}

async function toFile(file: string, chunks: AsyncIterable<Uint8Array>, line: DrawnLine): Promise<number> {
  const draft = `${file}.part`
  let bytes = 0
  try {
    // Nothing is written where somebody else has put something, such as a link to another file.
    await rm(draft, { force: true })
    const handle = await opened(draft)
    try {
      for await (const chunk of chunks) {
        await written(handle, chunk, draft)
        bytes += chunk.length
        line.show(() => formatBytes(bytes))
      }
      await handle.sync()
    } finally {
      await handle.close()
      line.end()
    }
    await rename(draft, file)
    return bytes
  } catch (error) {
    await rm(draft, { force: true }).catch(() => undefined)
    throw error
  }
}

async function opened(file: string): Promise<FileHandle> {
  return await open(file, 'wx', 0o600).catch((cause: unknown) => {
    throw unwritable(file, cause)
  })
}

async function written(handle: FileHandle, chunk: Uint8Array, file: string): Promise<void> {
  await handle.writeFile(chunk).catch((cause: unknown) => {
    throw unwritable(file, cause)
  })
}

function unwritable(file: string, cause: unknown): BusbarError {
  return new BusbarError(`cannot write ${file}: ${messageOf(cause)}`, {
    code: 'FILE_UNWRITABLE',
    hint: 'give --output a file in a directory where you may write, with room for it',
    cause,
  })
}
