/** A program that changes something over REST again and again, each time in a request with a name, until it is told to finish. */

import { sendJson } from './json-request.ts'

const PAUSE_MS = 50

export class ChangeWriter {
  /** Names of the requests that were answered with success. */
  readonly answered: string[] = []
  private readonly url: () => string
  private finishing = false
  private running: Promise<void> | null = null

  /** @param url of the core to ask, at each request. */
  constructor(url: () => string) {
    this.url = url
  }

  start(): this {
    this.running ??= this.run()
    return this
  }

  /** Resolves when the last request is answered. */
  async finish(): Promise<void> {
    this.finishing = true
    await this.running
  }

  private async run(): Promise<void> {
    for (let n = 0; !this.finishing; n++) {
      const name = `change-${n}`
      const site = { id: n + 1, name: `Substation ${n}` }
      const answer = await sendJson(`${this.url()}/api/v1/sites`, 'POST', site, { 'x-request-id': name }).catch(
        () => null,
      )
      if (answer?.status === 201) this.answered.push(name)
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    }
  }
}
