/** Figures as a table for people. */

import type { Paint } from '../../shared/cli/terminal.ts'
import { type Figure, isMet } from './figure.ts'

export function formatFigures(figures: readonly Figure[], paint: Paint): string {
  const rows = figures.map((figure) => [figure.name, formatValue(figure.value), figure.unit, formatAim(figure)])
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)))
  return figures
    .map((figure, i) => {
      const [name = '', value = '', unit = '', aim = ''] = rows[i] ?? []
      const met = isMet(figure)
      const verdict = met === null ? '' : met ? paint.good('met') : paint.bad('not met')
      const cells = [name.padEnd(widths[0] ?? 0), value.padStart(widths[1] ?? 0), unit.padEnd(widths[2] ?? 0)]
      const note = figure.note === undefined ? '' : paint.faint(figure.note)
      return `  ${[...cells, aim.padEnd(widths[3] ?? 0), verdict, note].join('  ').trimEnd()}\n`
    })
    .join('')
}

/** Three significant digits, thousands separated. */
export function formatValue(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US')
  return String(Number(value.toPrecision(3)))
}

function formatAim({ aim }: Figure): string {
  if (aim === undefined) return ''
  return 'atLeast' in aim ? `aim ≥ ${formatValue(aim.atLeast)}` : `aim ≤ ${formatValue(aim.atMost)}`
}
