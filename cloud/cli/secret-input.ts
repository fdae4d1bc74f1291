/** A password as somebody types it, unseen, or as a program pipes it. */

import { BusbarError } from '../../shared/errors.ts'

export interface SecretInput {
  /** Asks on the terminal and shows nothing of what is typed. @throws BusbarError USAGE where there is no terminal */
  ask(prompt: string): Promise<string>
  /** The first line of standard input. @throws BusbarError USAGE */
  firstLine(): Promise<string>
}

/** What of the process a password comes through. */
export interface InputStreams {
  readonly stdin: NodeJS.ReadStream
  readonly stderr: { write(text: string): unknown }
}

/** More is no password. */
const CHARS_MAX = 4_096

const CTRL_C = '\u0003'
const CTRL_D = '\u0004'
const CTRL_U = '\u0015'
const ENTER = ['\r', '\n']
const ERASE = ['\u0008', '\u007f']

export function secretInput({ stdin, stderr }: InputStreams): SecretInput {
  return {
    async ask(prompt) {
      if (stdin.isTTY !== true) {
        throw usage('there is no terminal to type a password on', 'pipe it in and say --password-stdin')
      }
      // First: what somebody types ahead would be shown.
      stdin.setRawMode(true)
      try {
        stderr.write(prompt)
        return await typed(stdin)
      } finally {
        stdin.setRawMode(false)
        stdin.pause()
        stderr.write('\n')
      }
    },
    async firstLine() {
      let text = ''
      for await (const chunk of stdin) {
        text += String(chunk)
        if (text.includes('\n') || text.length > CHARS_MAX) break
      }
      const [line = ''] = text.split(/\r?\n/)
      if (line === '' || line.length > CHARS_MAX) {
        throw usage('standard input has no password', 'pipe in one line that holds it and nothing else')
      }
      return line
    },
  }
}

async function typed(stdin: NodeJS.ReadStream): Promise<string> {
  let characters: string[] = []
  stdin.setEncoding('utf8')
  stdin.resume()
  return await new Promise<string>((resolve, reject) => {
    const end = (fn: () => void): void => {
      stdin.off('data', onData)
      stdin.off('end', onEnd)
      fn()
    }
    const onEnd = (): void => end(() => reject(interrupted()))
    const onData = (chunk: string | Buffer): void => {
      for (const character of String(chunk)) {
        if (ENTER.includes(character)) {
          end(() => resolve(characters.join('')))
          return
        }
        if (character === CTRL_C || (character === CTRL_D && characters.length === 0)) {
          onEnd()
          return
        }
        if (character === CTRL_U) characters = []
        else if (ERASE.includes(character)) characters.pop()
        else if (characters.length < CHARS_MAX) characters.push(character)
      }
    }
    stdin.on('data', onData)
    stdin.on('end', onEnd)
  })
}

function interrupted(): BusbarError {
  return usage('no password was given', 'type it and press Enter, or pipe it in and say --password-stdin')
}

function usage(message: string, hint: string): BusbarError {
  return new BusbarError(message, { code: 'USAGE', hint })
}
