/** Says each line that is typed, in the order in which they were, and marks what is shown as read. */

import { createInterface, type Interface } from 'node:readline'
import { describeError, type Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import { retry } from '../../shared/retry.ts'
import type { ChatApi } from './chat-api.ts'

export interface ChatTalkOptions {
  readonly api: Pick<ChatApi, 'send' | 'read'>
  readonly conversationId: string
  readonly terminal: Terminal
  readonly clock: Clock
  readonly random: Random
  readonly signal: AbortSignal
}

const BACKOFF = { baseMs: 500, capMs: 15_000 }
/** Of a terminal that does not say how wide it is. */
const COLUMNS = 80

export class ChatTalk {
  private readonly options: ChatTalkOptions
  private input: Interface | null = null
  private readPosition = 0
  private reading: Promise<void> | null = null

  constructor(options: ChatTalkOptions) {
    this.options = options
  }

  /** Resolves at the end of the input, or when the signal ends it. */
  async run(): Promise<void> {
    const { stdin, stdout } = process
    const isTyped = stdin.isTTY === true && stdout.isTTY === true
    const input = createInterface({ input: stdin, ...(isTyped ? { output: stdout, prompt: '' } : {}) })
    this.input = isTyped ? input : null
    const close = (): void => input.close()
    // Typed, it comes as a key: the terminal makes no signal of it then.
    input.on('SIGINT', close)
    this.options.signal.addEventListener('abort', close, { once: true })
    try {
      for await (const line of input) {
        if (isTyped) this.erase(line)
        if (line.trim() !== '') await this.say(line)
      }
      await this.reading
    } finally {
      close()
      this.input = null
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
    for (let told = 0; told < this.readPosition; ) {
      told = this.readPosition
      try {
        await api.read(conversationId, told)
      } catch (error) {
        // The next message marks this one too.
        if (!(error instanceof BusbarError)) throw error
      }
    }
  }

  /** Under one name, so that it is said once however often it is sent. */
  private async say(line: string): Promise<void> {
    const { api, conversationId, terminal, clock, random, signal } = this.options
    const name = randomHex(random, 12)
    try {
      await retry(() => api.send(conversationId, line, name), {
        ...{ clock, random, signal, backoff: BACKOFF },
        isRetryable: (error) => error instanceof BusbarError && error.retryable,
      })
    } catch (error) {
      if (!(error instanceof BusbarError)) throw error
      terminal.err(describeError(error, terminal.paint))
    }
  }

  /** What was typed comes back with its time and number. */
  private erase(line: string): void {
    const { terminal } = this.options
    const rows = Math.max(1, Math.ceil(Bun.stringWidth(line) / (terminal.columns || COLUMNS)))
    terminal.out(`\u001b[${rows}A\r\u001b[J`)
  }
}
