/** Dead letters and their replays as lines for a terminal or a pipe. Pure, but for writing. */

import { formatBytes, formatCount } from '../../shared/cli/format.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Paint, Terminal } from '../../shared/cli/terminal.ts'
import type {
  deadLetterBody,
  deadLetterDetailsBody,
  deadLetterSummaryBody,
  replayBody,
} from '../api/schemas/dead-letter.ts'

export type DeadLetterBody = ReturnType<typeof deadLetterBody>
export type DetailsBody = ReturnType<typeof deadLetterDetailsBody>
export type SummaryBody = ReturnType<typeof deadLetterSummaryBody>
export type ReplayBody = ReturnType<typeof replayBody>
export type ResultBody = ReplayBody['results'][number]

/** Characters of a message in a table, and of a value in a terminal. */
const MESSAGE_LENGTH = 60
const VALUE_LENGTH = 4_000
/** Those that were not replayed, listed one by one. */
const PROBLEMS_MAX = 50

export function writeDeadLetters(letters: readonly DeadLetterBody[], terminal: Terminal): void {
  const { paint, isInteractive } = terminal
  const rows = letters.map(({ id, code, key, source, failedAt, replayedAt, message }) => [
    id,
    paint.bad(cell(code)),
    cell(key ?? '-'),
    cell(source ?? '-'),
    failedAt,
    replayedAt === null ? '-' : paint.good(replayedAt),
    isInteractive ? clipped(cell(message), MESSAGE_LENGTH) : cell(message),
  ])
  writeTable(terminal, ['DEAD LETTER', 'CODE', 'KEY', 'SOURCE', 'FAILED', 'REPLAYED', 'MESSAGE'], rows)
}

export function writeSummary({ total, items }: SummaryBody, terminal: Terminal): void {
  const rows = items.map(({ originalTopic, code, count, replayed, oldest, newest }) => [
    cell(originalTopic),
    terminal.paint.bad(cell(code)),
    formatCount(count),
    formatCount(replayed),
    oldest,
    newest,
  ])
  writeTable(terminal, ['TOPIC', 'CODE', 'COUNT', 'REPLAYED', 'OLDEST', 'NEWEST'], rows)
  terminal.err(`${formatCount(total)} dead ${total === 1 ? 'letter' : 'letters'}\n`)
}

export function writeDetails(letter: DetailsBody, terminal: Terminal): void {
  const { out, paint, isInteractive } = terminal
  const row = (name: string, value: string | null) => {
    if (value !== null) out(`${paint.faint(name.padEnd(9))} ${cell(value)}\n`)
  }
  const { code, message, error, value } = letter
  const told = typeof error?.['message'] === 'string' ? error['message'] : message
  row('letter', letter.id)
  row('from', letter.key === null ? letter.originalTopic : `${letter.originalTopic}, key ${letter.key}`)
  out(`${paint.faint('error    ')} ${paint.bad(cell(code))}: ${cell(told)}\n`)
  row('source', letter.source)
  row('failed', `${letter.failedAt}, after ${formatCount(letter.retryCount)} retries`)
  row(
    'replayed',
    letter.replayedAt === null ? null : `${letter.replayedAt}, ${formatCount(letter.replays)} times so far`,
  )
  row('replay of', letter.replayOf)
  for (const [name, text] of Object.entries(letter.headers)) row('header', `${name}: ${text}`)
  if (value === null) {
    row(
      'value',
      `${formatBytes(letter.valueBytes)}, too large to be kept (deadLetters.valueBytesMax); its topic has it`,
    )
    return
  }
  const parts = letter.parts === 1 ? '' : `, in ${letter.parts} parts`
  const what = value.restored ? '' : `; the dead letter itself: ${value.problem}`
  row('value', `${formatBytes(value.bytes)}${parts}${value.base64 === undefined ? '' : ', not JSON'}${what}`)
  const text = isInteractive ? clipped(visible(value.text), VALUE_LENGTH) : value.text
  out(`${text}\n`)
  if (isInteractive && text.length < value.text.length) terminal.err('cut short: --json has all of it\n')
}

/** In a pipe every one; in a terminal all of a dry run, otherwise those that were not replayed. */
export function writeResults(results: readonly ResultBody[], dryRun: boolean, terminal: Terminal): void {
  const { isInteractive, paint } = terminal
  const shown = isInteractive && !dryRun ? results.filter(({ outcome }) => outcome !== 'REPLAYED') : results
  const listed = isInteractive ? shown.slice(0, PROBLEMS_MAX) : shown
  const rows = listed.map(({ id, outcome, topic, key, bytes, code, message }) => [
    id,
    paintOutcome(outcome, paint)(nameOf(outcome)),
    topic === null ? '-' : cell(topic),
    cell(key ?? '-'),
    bytes === null ? '-' : isInteractive ? formatBytes(bytes) : String(bytes),
    [code, message]
      .filter((each) => each !== null)
      .map(cell)
      .join(': ') || '-',
  ])
  if (rows.length > 0) writeTable(terminal, ['DEAD LETTER', 'OUTCOME', 'TOPIC', 'KEY', 'SIZE', 'WHY'], rows)
  if (listed.length < shown.length) {
    terminal.err(`and ${formatCount(shown.length - listed.length)} more: --json lists all of them\n`)
  }
}

/** `12 replayed, 3 refused`, in the order in which it matters. */
export function totalsOf(results: readonly Pick<ResultBody, 'outcome'>[], paint: Paint): string {
  const counts = new Map<ResultBody['outcome'], number>()
  for (const { outcome } of results) counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
  const order: readonly ResultBody['outcome'][] = [
    ...(['REPLAYED', 'WOULD_REPLAY', 'SKIPPED', 'REFUSED', 'NOT_FOUND', 'FAILED', 'LEFT'] as const),
  ]
  return order
    .filter((outcome) => counts.has(outcome))
    .map((outcome) => paintOutcome(outcome, paint)(`${formatCount(counts.get(outcome) ?? 0)} ${nameOf(outcome)}`))
    .join(', ')
}

function paintOutcome(outcome: ResultBody['outcome'], paint: Paint): (text: string) => string {
  if (outcome === 'REPLAYED' || outcome === 'WOULD_REPLAY') return paint.good
  return outcome === 'SKIPPED' || outcome === 'LEFT' ? paint.caution : paint.bad
}

/** `WOULD_REPLAY` as people say it. */
function nameOf(outcome: ResultBody['outcome']): string {
  return outcome === 'WOULD_REPLAY' ? 'would be replayed' : outcome.toLowerCase().replaceAll('_', ' ')
}

/** What devices write must not steer a terminal, nor break a row. */
function cell(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029]/gu, '\ufffd')
}

function visible(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n\t]/gu, '\ufffd')
}

function clipped(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`
}
