/** Says each line that is typed, in the order in which they were, and marks what is shown as read. */

import { createInterface, type Interface } from 'node:readline'
import { describeError, type Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import { retry } from '../../shared/retry.ts'
import type { ChatApi } from './chat-api.ts'
import { visible } from './chat-text.ts'

export interface ChatTalkOptions {
  readonly api: Pick<ChatApi, 'send' | 'read'>
  readonly conversationId: string
  readonly terminal: Terminal
  readonly clock: Clock
  readonly random: Random
  /** Somebody who has the terminal wants no more. */
  readonly interrupt: () => void
  readonly signal: AbortSignal
}

/** Of a core that cannot answer now, and of who says more than they may at once: it is said later. */
function isPassing(error: unknown): boolean {
  return error instanceof BusbarError && (error.retryable || error.code === 'RATE_LIMITED')
}

const BACKOFF = { baseMs: 500, capMs: 15_000 }
/** Of a terminal that does not say how wide it is. */
const COLUMNS = 80

export class ChatTalk {
  private readonly options: ChatTalkOptions
  private input: Interface | null = null
  private readPosition: number
  private toldPosition: number
  private reading: Promise<void> | null = null
  /** What is being said could not be sent yet. */
  private isWaiting = false

  /** @param readPosition everything up to here is read already. */
  constructor(options: ChatTalkOptions, readPosition: number) {
    this.options = options
    this.readPosition = readPosition
    this.toldPosition = readPosition
  }

  /** Resolves at the end of the input, or when the signal ends it; with whether everything was said. */
  async run(): Promise<boolean> {
    const { interrupt, signal } = this.options
    const { stdin, stdout } = process
    let allSaid = true
    const isTyped = stdin.isTTY === true && stdout.isTTY === true
    const input = createInterface({ input: stdin, ...(isTyped ? { output: stdout, prompt: '' } : {}) })
    this.input = isTyped ? input : null
    const close = (): void => input.close()
    // From then on the terminal is as it was before.
    input.once('close', () => {
      this.input = null
    })
    // Typed, it comes as a key: the terminal makes no signal of it then.
    input.on('SIGINT', interrupt)
    if (isTyped) input.on('line', (line) => this.typed(line))
    signal.addEventListener('abort', close, { once: true })
    try {
      for await (const line of input) if (line.trim() !== '' && !(await this.say(line))) allSaid = false
      await this.reading
      return allSaid
    } finally {
      close()
    }
  }

  /** A line above the one that is being typed. */
  print(text: string): void {
    const { terminal } = this.options
    if (this.input === null) {
      terminal.out(text)
      return
    }
    terminal.out(`\r\u001b[J${text}`)
    this.input.prompt(true)
  }

  /** Somebody has seen what was said up to there. */
  shown(position: number): void {
    this.readPosition = Math.max(this.readPosition, position)
    this.reading ??= this.markRead().finally(() => {
      this.reading = null
    })
  }

  private async markRead(): Promise<void> {
    const { api, conversationId } = this.options
    while (this.toldPosition < this.readPosition) {
      this.toldPosition = this.readPosition
      try {
        await api.read(conversationId, this.toldPosition)
      } catch (error) {
        // The next message marks this one too.
        if (!(error instanceof BusbarError)) throw error
      }
    }
  }

  /** Under one name, so that it is said once however often it is sent. Resolves with whether it was. */
  private async say(line: string): Promise<boolean> {
    const { api, conversationId, terminal, clock, random, signal } = this.options
    const name = randomHex(random, 12)
    if (signal.aborted) {
      this.tell(line, 'was not sent')
      return false
    }
    try {
      await retry(() => api.send(conversationId, { content: line }, name), {
        ...{ clock, random, signal, backoff: BACKOFF },
        isRetryable: isPassing,
        onRetry: () => {
          if (!this.isWaiting) this.tell(line, 'waits to be sent')
          this.isWaiting = true
        },
      })
      return true
    } catch (error) {
      if (!(error instanceof BusbarError)) throw error
      if (!signal.aborted) terminal.err(describeError(error, terminal.paint))
      this.tell(line, 'was not sent')
      return false
    } finally {
      this.isWaiting = false
    }
  }

  /** What was typed comes back with its time and number; behind what waits it is seen to wait as well. */
  private typed(line: string): void {
    this.erase(line)
    if (this.isWaiting && line.trim() !== '') this.tell(line, 'waits to be sent')
  }

  private tell(line: string, what: string): void {
    const { terminal } = this.options
    const text = `${terminal.paint.caution(what)}: ${visible(line)}\n`
    if (this.input === null) terminal.err(text)
    else this.print(text)
  }

  private erase(line: string): void {
    const { terminal } = this.options
    const rows = Math.max(1, Math.ceil(Bun.stringWidth(line) / (terminal.columns || COLUMNS)))
    terminal.out(`\u001b[${rows}A\r\u001b[J`)
  }
}
