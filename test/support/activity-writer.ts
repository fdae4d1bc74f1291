/** A program that tells the core of one user's activities over REST, numbered, until it is told to finish. */

import { activityValue } from './activity-values.ts'
import { sendJson } from './json-request.ts'
import { until } from './until.ts'

const BATCH = 4
const PAUSE_MS = 40
/** Longer than anything is away. */
const STUCK_MS = 60_000

export class ActivityWriter {
  readonly userId: string
  private readonly url: () => string
  private finishing = false
  private acknowledged = 0
  private running: Promise<void> | null = null

  /** @param url of the core to ask, at each try. */
  constructor(userId: string, url: () => string) {
    this.userId = userId
    this.url = url
  }

  /** Activities that an answer was given for; those in flight are not among them. */
  get sent(): number {
    return this.acknowledged
  }

  start(): this {
    this.running ??= this.run()
    this.running.catch(() => undefined)
    return this
  }

  /** Resolves when the last batch is acknowledged. */
  async finish(): Promise<void> {
    this.finishing = true
    await this.running
  }

  private async run(): Promise<void> {
    while (!this.finishing) {
      const activities = Array.from({ length: BATCH }, (_, i) => activityValue(this.userId, this.acknowledged + i))
      await until(() => this.took(activities), {
        timeoutMs: STUCK_MS,
        pollMs: PAUSE_MS,
        what: `${this.userId} is heard`,
      })
      this.acknowledged += BATCH
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    }
  }

  /** False when the core cannot take it now; then it is sent again, with the same ids. */
  private async took(activities: readonly object[]): Promise<boolean> {
    const answer = await sendJson(`${this.url()}/api/v1/activities`, 'POST', { activities }).catch(() => null)
    if (answer === null || answer.status === 503) return false
    if (answer.status !== 202) throw new Error(`${answer.status} ${JSON.stringify(answer.body)}`)
    return true
  }
}
