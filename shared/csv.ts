/** Lines of CSV (RFC 4180) that do no harm in a spreadsheet. */

/** With its end. */
export function csvLine(cells: readonly unknown[]): string {
  return `${cells.map(csvCell).join(',')}\r\n`
}

/** How a spreadsheet recognises a formula; the four last are the full-width forms, which some take alike. */
const FORMULA = /^[=+\-@\t\r\uFF1D\uFF0B\uFF0D\uFF20]/
const QUOTED = /[",\r\n]/

/**
 * A cell as RFC 4180 has it. Numbers stay as they are; text that a spreadsheet would run as a formula begins with an
 * apostrophe, which makes it text there. Objects and arrays are JSON text, null is an empty cell.
 */
export function csvCell(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (value === null || value === undefined) return ''
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  const plain = FORMULA.test(text) ? `'${text}` : text
  return QUOTED.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain
}
