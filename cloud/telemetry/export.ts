/**
 * Streams readings or roll-ups out of the database: a page is read when the client has taken the one before, so an export of
 * any length costs the memory of one page, and no transaction or connection is held while the client reads.
 */

import { nextTurn } from '../../shared/waiting.ts'
import type { ExportWriter } from './export-format.ts'
import { type ResolutionName, resolutionOf, type Stretch } from './series-plan.ts'
import type { QueriedDevice, ReadingRow, RollupRow, SeriesStore } from './series-store.ts'

/** Rows of a page: few, since a page with many fields becomes many lines, which takes time from everybody else. */
export const EXPORT_PAGE_ROWS = 500

/** Text by device and, within a device, by time, a page at a time; the head comes with the first page. None is empty. */
export async function* exportChunks(
  store: SeriesStore,
  devices: AsyncIterable<QueriedDevice>,
  resolution: ResolutionName,
  stretch: Stretch,
  writer: ExportWriter,
): AsyncGenerator<string, void, void> {
  let { head } = writer
  for await (const device of devices) {
    const ids = [device.deviceId]
    const pages =
      resolution === 'raw'
        ? pagesOf<ReadingRow>(
            (after) => store.readings(ids, stretch, after, EXPORT_PAGE_ROWS),
            (rows) => writer.readings(device, rows),
          )
        : pagesOf<RollupRow>(
            (after) => store.rollups(resolutionOf(resolution), ids, stretch, after, EXPORT_PAGE_ROWS),
            (rows) => writer.rollups(device, rows),
          )
    for await (const page of pages) {
      yield head + page
      head = ''
    }
  }
  if (head !== '') yield head
}

async function* pagesOf<Row>(
  read: (after: Row | null) => Promise<Row[]>,
  write: (rows: readonly Row[]) => string,
): AsyncGenerator<string, void, void> {
  let rows: Row[] = []
  do {
    rows = await read(rows.at(-1) ?? null)
    const text = write(rows)
    if (text !== '') yield text
    await nextTurn()
  } while (rows.length === EXPORT_PAGE_ROWS)
}
