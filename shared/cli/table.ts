/** Tables: aligned for a reader, tab separated for a program. */

import type { Terminal } from './terminal.ts'

/** Rows under a heading line in a terminal; in a pipe the rows alone, separated by tabs. */
export function writeTable(terminal: Terminal, heading: readonly string[], rows: readonly (readonly string[])[]): void {
  if (!terminal.isInteractive) {
    for (const row of rows) terminal.out(`${row.join('\t')}\n`)
    return
  }
  const widths = heading.map((title, i) => Math.max(title.length, ...rows.map((row) => widthOf(row[i]))))
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell + ' '.repeat(Math.max(0, (widths[i] ?? 0) - widthOf(cell))))
      .join('  ')
      .trimEnd()
  terminal.out(`${terminal.paint.faint(line(heading))}\n`)
  for (const row of rows) terminal.out(`${line(row)}\n`)
}

/** Columns that a cell takes; colours take none. */
function widthOf(cell: string | undefined): number {
  return cell === undefined ? 0 : Bun.stringWidth(cell)
}
