/** The lanes of a spool: independent sequences with ranges and acknowledgements of their own. */

export const LANES = ['priority', 'telemetry'] as const
/** `priority` carries status changes and command responses, `telemetry` readings. */
export type Lane = (typeof LANES)[number]

/** Inclusive range of sequence numbers. */
export interface SequenceRange {
  readonly first: number
  readonly last: number
}
