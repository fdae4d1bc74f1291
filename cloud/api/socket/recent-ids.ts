/** Ids that were seen lately, so that what comes again is known; of bounded number, the oldest are forgotten. */

import { forgetOldest } from '../../../shared/bounded.ts'

/** A relay that dies repeats what it was publishing, which is far less. */
const IDS_MAX = 20_000

export class RecentIds {
  private readonly ids = new Set<string>()
  private readonly max: number

  constructor(max = IDS_MAX) {
    this.max = max
  }

  /** False when it is known. */
  add(id: string): boolean {
    if (this.ids.has(id)) return false
    this.ids.add(id)
    forgetOldest(this.ids, this.max)
    return true
  }
}
