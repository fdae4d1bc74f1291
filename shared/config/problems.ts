/** How problems of a config are told: all at once, each with its place. */

import { BusbarError, messageOf } from '../errors.ts'
import type { TomlSyntaxError } from './toml.ts'

export interface ConfigProblem {
  /** Dotted key, or the variable's name when it is no key's. */
  readonly key: string
  /** In words that follow the key. */
  readonly message: string
  /** Line in the file, when it was set there. */
  readonly line?: number | undefined
  /** Environment variable, when it was set there. */
  readonly variable?: string | undefined
}

/** A config that cannot be used; `problems` has every one. */
export class ConfigError extends BusbarError {
  readonly problems: readonly ConfigProblem[]

  constructor(message: string, problems: readonly ConfigProblem[]) {
    super(message, { code: 'CONFIG_INVALID', hint: 'correct them; `config example` prints every key with its range' })
    this.problems = problems
  }
}

export function configError(problems: readonly ConfigProblem[], file: string | undefined): ConfigError {
  const ordered = [...problems].sort((a, b) => (a.line ?? Infinity) - (b.line ?? Infinity))
  const count = ordered.length === 1 ? '1 problem' : `${ordered.length} problems`
  const lines = ordered.map((problem) => `  ${placeOf(problem)}${problem.key} ${problem.message}`)
  return new ConfigError(`${count} in ${file ?? 'the config'}:\n${lines.join('\n')}`, ordered)
}

export function syntaxError(error: TomlSyntaxError, file: string | undefined): ConfigError {
  const where = `${file ?? 'the config'}, line ${error.line}, column ${error.column}`
  return new ConfigError(`${where}: not valid TOML: ${error.message}`, [
    { key: '', message: error.message, line: error.line },
  ])
}

export function unreadableFile(file: string, cause: unknown): BusbarError {
  const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT'
  return new BusbarError(missing ? `there is no config file ${file}` : `cannot read ${file}: ${messageOf(cause)}`, {
    code: 'CONFIG_FILE_UNREADABLE',
    hint: missing ? 'write one from what `config example` prints' : 'make it a file that this user may read',
    cause,
  })
}

function placeOf(problem: ConfigProblem): string {
  if (problem.line !== undefined) return `line ${problem.line}: `
  // A variable that is itself unknown is named by its key already.
  if (problem.variable !== undefined && problem.variable !== problem.key) return `${problem.variable}: `
  return ''
}
