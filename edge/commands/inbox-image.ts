/**
 * Everything in commands.db that is not finished, on its way from the thread that reads it. It travels as one text: cloning a
 * hundred thousand objects between threads takes longer than all else of a start.
 */

import type { SqliteDatabase } from '../../shared/sqlite.ts'
import type { LearnedTime } from './cloud-time.ts'
import type { LifeRow } from './life-row.ts'
import type { Handshake, Outcome } from './life-state.ts'
import type { LifeFact } from './life-step.ts'

export interface OpenCommand {
  readonly position: number
  readonly commandId: string
  readonly siteId: number
  readonly serialNumber: string
  readonly expiresAtMs: number
  readonly timeoutMs: number
  readonly row: Omit<LifeRow, 'endedMs'>
}

export interface ImageFact extends LifeFact {
  readonly position: number
}

export interface InboxImage {
  /** Those that are not finished, in the order of arrival, then those that are with a fact untold. */
  readonly commands: readonly OpenCommand[]
  readonly facts: readonly ImageFact[]
  /** Packet identifiers that durable sessions may still hold. */
  readonly loose: readonly { readonly session: string; readonly packetId: number }[]
  /** Finished ids. */
  readonly remembered: number
  readonly learned: (LearnedTime & { readonly bootId: string }) | null
}

/** The columns of OPEN. */
type CommandRow = readonly [
  position: number,
  commandId: string,
  siteId: number,
  serialNumber: string,
  expiresAtMs: number,
  timeoutMs: number,
  phase: LifeRow['phase'],
  sinceMs: number,
  bootId: string,
  session: string | null,
  packetId: number | null,
  qos: Handshake['qos'] | null,
  resumable: number | null,
  outcome: Outcome | null,
]

const OPEN = `SELECT position, command_id, site_id, serial_number, expires_at_ms, timeout_ms, phase, since_ms, boot_id,
  session, packet_id, qos, resumable, outcome FROM commands`

type ImageText = Omit<InboxImage, 'commands' | 'facts'> & {
  readonly commands: readonly CommandRow[]
  readonly facts: readonly (readonly [position: number, state: LifeFact['state'], reason: string | null])[]
}

/** The image as a text. */
export function imageOf(database: SqliteDatabase): string {
  const rows = (sql: string) => database.prepare(sql).raw(true).all() as never[]
  const note = database.prepare("SELECT value FROM notes WHERE key = 'cloud-time'").get() as
    | { readonly value: string }
    | undefined
  const image: ImageText = {
    commands: [
      ...rows(`${OPEN} WHERE phase <> 'ended' ORDER BY position`),
      ...rows(`${OPEN} WHERE phase = 'ended' AND position IN (SELECT position FROM facts)`),
    ],
    facts: rows('SELECT position, state, reason FROM facts ORDER BY position, state'),
    loose: database
      .prepare(
        `SELECT session, packet_id AS packetId FROM commands
         WHERE phase = 'ended' AND session IS NOT NULL ORDER BY position`,
      )
      .all() as InboxImage['loose'],
    remembered: (database.prepare("SELECT count(*) AS n FROM commands WHERE phase = 'ended'").get() as { n: number }).n,
    learned: note === undefined ? null : JSON.parse(note.value),
  }
  return JSON.stringify(image)
}

export function parseImage(text: string): InboxImage {
  const { commands, facts, ...rest } = JSON.parse(text) as ImageText
  return {
    ...rest,
    commands: commands.map(openCommand),
    facts: facts.map(([position, state, reason]) => ({ position, state, ...(reason === null ? {} : { reason }) })),
  }
}

function openCommand(row: CommandRow): OpenCommand {
  const [position, commandId, siteId, serialNumber, expiresAtMs, timeoutMs, phase, sinceMs, bootId, ...handshake] = row
  const [session, packetId, qos, resumable, outcome] = handshake
  const via = session === null ? null : { session, packetId: packetId ?? 0, qos: qos ?? 0, resumable: resumable === 1 }
  return {
    position,
    commandId,
    siteId,
    serialNumber,
    expiresAtMs,
    timeoutMs,
    row: { phase, via, sinceMs, bootId, outcome },
  }
}
