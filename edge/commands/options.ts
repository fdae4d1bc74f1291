/** What the inbox is given, and what it tells of itself. */

import type { Clock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { CommandOutlet } from '../broker/command-outlet.ts'
import type { DurableLog } from '../broker/durable-log.ts'
import type { Boot } from '../spool/boot.ts'
import type { Outcome } from './life-state.ts'

export interface CommandInboxOptions {
  /** Directory of commands.db; made when missing. */
  readonly dir: string
  /** Takes the facts. */
  readonly spool: DurableLog
  readonly outlet: CommandOutlet
  /** Commands that are not finished; further ones are refused. */
  readonly inboxMax: number
  /** How long the id of a finished command is remembered. */
  readonly keptDays: number
  /** Default: the present boot of this machine. */
  readonly boot?: Boot
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface CommandInboxStats {
  /** Commands now: for their device to be there, written to it, and with it (PUBCOMP) without an answer. */
  readonly waiting: number
  readonly sent: number
  readonly delivered: number
  /** Ids of finished commands. */
  readonly remembered: number
  /** Facts that the spool does not have yet. */
  readonly untold: number
  /** Since the start. */
  readonly stored: number
  readonly refused: number
  readonly deliveries: number
  /** How commands ended since the start; with ANSWERED the device said how itself. */
  readonly ended: Readonly<Record<Outcome, number>>
  /** Why commands cannot be stored at present; null when they can. */
  readonly failing: string | null
}

/** Ids of commands: `stored` are on disk or known from before, `refused` are to be handed over again later. */
export interface Receipts {
  readonly stored: readonly string[]
  readonly refused: readonly string[]
}
