/**
 * Reads a stretch of time window by window, so that no statement sorts or gives back much, however much the stretch holds.
 * Between two pages everything else in the process gets its turn.
 */

import { nextTurn } from '../../shared/waiting.ts'
import type { Stretch } from './series-plan.ts'
import { PAGE_ROWS } from './series-store.ts'

/** Rows of `window` by time, those after `after`. */
export type ReadPage<Row> = (window: Stretch, after: Row | null, limit: number) => Promise<Row[]>

/** Windows of an empty stretch grow to so many times their first length. */
const GROWTH_MAX = 64

/**
 * Pages by time.
 * @param rowsExpected of the whole stretch; a wrong guess costs statements, never a row.
 */
export async function* pagesByTime<Row>(
  read: ReadPage<Row>,
  stretch: Stretch,
  rowsExpected: number,
  pageRows = PAGE_ROWS,
): AsyncGenerator<readonly Row[], void, void> {
  const spanMs = stretch.toMs - stretch.fromMs
  const first = Math.min(spanMs, Math.max(1, Math.ceil((spanMs * pageRows) / Math.max(rowsExpected, 1))))
  let windowMs = first
  for (let fromMs = stretch.fromMs; fromMs < stretch.toMs; ) {
    const window = { fromMs, toMs: Math.min(fromMs + windowMs, stretch.toMs) }
    let rowsOfWindow = 0
    let page: Row[] = []
    do {
      page = await read(window, page.at(-1) ?? null, pageRows)
      rowsOfWindow += page.length
      if (page.length > 0) yield page
      await nextTurn()
    } while (page.length === pageRows)
    fromMs = window.toMs
    if (rowsOfWindow < pageRows / 4) windowMs = Math.min(windowMs * 2, first * GROWTH_MAX)
    else if (rowsOfWindow > 2 * pageRows) windowMs = Math.max(1, Math.floor(windowMs / 2))
  }
}
