/** Exports under way: files of any length, of which so many are read at one time. */

import { BusbarError, messageOf } from './errors.ts'
import type { Logger } from './log.ts'
import { begun, pulledStream } from './pulled-stream.ts'

export interface ExportStats {
  readonly exporting: number
  /** Since the start. */
  readonly exports: number
  readonly exportsFailed: number
  readonly exportsRefused: number
}

/** Another one is told to come again. */
const EXPORTS_MAX = 8

export class Exports {
  private readonly log: Logger
  private readonly what: string
  private readonly counts = { exports: 0, exportsFailed: 0, exportsRefused: 0 }
  private exporting = 0

  /** @param what is exported, for errors and the log: `telemetry`. */
  constructor(what: string, log: Logger) {
    this.what = what
    this.log = log
  }

  /**
   * The text of an export as it is read; see `pulledStream`. Its first chunk is made before this resolves, so that a database
   * that is away is told as a problem.
   * @param signal aborted when the client has gone.
   * @throws BusbarError EXPORTS_BUSY; whatever making the first chunk throws
   */
  async begin(chunks: AsyncGenerator<string, void, void>, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    if (this.exporting >= EXPORTS_MAX) {
      this.counts.exportsRefused++
      throw new BusbarError(`${EXPORTS_MAX} exports of ${this.what} are under way`, {
        code: 'EXPORTS_BUSY',
        retryable: true,
        hint: 'Ask again when one of them has ended.',
      })
    }
    this.exporting++
    this.counts.exports++
    const ended = (failure: unknown): void => {
      this.exporting--
      if (failure === null) return
      this.counts.exportsFailed++
      this.log.warn({ error: messageOf(failure) }, `an export of ${this.what} broke off`)
    }
    try {
      return pulledStream(await begun(chunks), signal, ended)
    } catch (error) {
      ended(error)
      throw error
    }
  }

  stats(): ExportStats {
    return { exporting: this.exporting, ...this.counts }
  }
}
