/** What a check of `busbar-edge doctor` found. */

export type Outcome = 'ok' | 'warn' | 'fail'

export interface Finding {
  /** Stable name of the check, for programs. */
  readonly check: string
  readonly outcome: Outcome
  readonly detail: string
  /** What to do; always there unless the outcome is ok. */
  readonly hint?: string
}

export function ok(check: string, detail: string): Finding {
  return { check, outcome: 'ok', detail }
}

/** The edge works, but not as well or as safely as it should. */
export function warn(check: string, detail: string, hint: string): Finding {
  return { check, outcome: 'warn', detail, hint }
}

/** The edge does not start, loses records, or does not reach the cloud. */
export function fail(check: string, detail: string, hint: string): Finding {
  return { check, outcome: 'fail', detail, hint }
}
