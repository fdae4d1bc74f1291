/** What a config file and the environment set, key by key, each with its place. */

import { messageOf } from '../errors.ts'
import { fromText, ownVariables } from './environment.ts'
import { type Field, isSecret, variableSuffix } from './fields.ts'
import { nearest } from './nearest.ts'
import { type Exposure, readChecked } from './private-file.ts'
import { type ConfigProblem, syntaxError } from './problems.ts'
import { EMPTY_TABLE, parseEntries, type TomlEntry, TomlSyntaxError } from './toml.ts'

/** Characters of one secret; a file with more is some other file. */
const SECRET_FILE_CHARACTERS_MAX = 65_536

/** A value and where it was set. */
export interface Setting {
  readonly value: unknown
  /** In the config file. */
  readonly line?: number
  /** Environment variable. */
  readonly variable?: string
  /** File that holds the value, which the line or the variable names. */
  readonly heldIn?: string
}

export type Settings = Map<Field, Setting>

/** Keys of earlier versions: what to do instead, in words that follow the key. */
export type RetiredKeys = Readonly<Record<string, string>>

/** Takes the keys of `text`, which is that of `file`. @throws ConfigError when it is not TOML. */
export function settingsOfFile(
  text: string,
  file: string | undefined,
  fields: readonly Field[],
  retired: RetiredKeys,
  settings: Settings,
  problems: ConfigProblem[],
): void {
  let entries: TomlEntry[]
  try {
    entries = parseEntries(text)
  } catch (error) {
    // The rest of a file with a syntax error means nothing reliable: telling more would mislead.
    if (error instanceof TomlSyntaxError) throw syntaxError(error, file)
    throw error
  }
  const known = fields.map((field) => field.key)
  for (const { path, value, line } of entries) {
    const field = fields.find((candidate) => isWithin(path, candidate))
    if (field === undefined) {
      const key = path.join('.')
      problems.push({ key, line, message: retired[key] ?? unknown('key', nearest(key, known)) })
    } else if (field.kind === 'table' && path.length > field.path.length) {
      const table = (settings.get(field)?.value ?? {}) as Record<string, unknown>
      settings.set(field, { value: { ...table, [path.slice(field.path.length).join('.')]: value }, line })
    } else {
      settings.set(field, { value: value === EMPTY_TABLE ? {} : value, line })
    }
  }
}

/** True for the field's own path, and for paths inside it when it is a table. */
function isWithin(path: readonly string[], field: Field): boolean {
  const depthFits = field.kind === 'table' ? path.length >= field.path.length : path.length === field.path.length
  return depthFits && field.path.every((name, i) => name === path[i])
}

/** Takes the variables that begin with `envPrefix`, over what is there. */
export function settingsOfEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  envPrefix: string,
  ignored: readonly string[],
  fields: readonly Field[],
  retired: RetiredKeys,
  settings: Settings,
  problems: ConfigProblem[],
): void {
  const variables = fields.map((field) => field.variable)
  for (const [variable, text] of ownVariables(env, envPrefix, ignored)) {
    const field = fields.find((candidate) => candidate.variable === variable)
    if (field === undefined) {
      const key = Object.keys(retired).find((each) => envPrefix + variableSuffix(each.split('.')) === variable)
      const message = key === undefined ? unknown('variable', nearest(variable, variables)) : retired[key]
      problems.push({ key: variable, variable, message: message as string })
    } else {
      settings.set(field, { value: fromText(field, text), variable })
    }
  }
}

function unknown(what: string, near: string | null): string {
  return near === null ? `is no known ${what}` : `is no known ${what}; did you mean ${near}?`
}

/** Takes the secrets that files of their own hold, and refuses those that stand where others can read them. */
export function settleSecrets(
  fields: readonly Field[],
  settings: Settings,
  configExposure: Exposure,
  problems: ConfigProblem[],
): void {
  for (const field of fields) {
    if (field.holds === undefined) continue
    const written = settings.get(field.holds)
    const named = settings.get(field)
    if (named !== undefined && typeof named.value === 'string' && named.value !== '') {
      const found = written === undefined ? heldIn(named.value) : `must not be set beside ${field.holds.key}`
      if (typeof found === 'string') problems.push({ ...named, key: field.key, message: found })
      else settings.set(field.holds, { ...named, value: found.secret, heldIn: named.value })
    } else if (written?.line !== undefined && configExposure !== null && isSecret(field.holds, written.value)) {
      const message = `is in this file, which ${configExposure}: chmod 600 the file, or set ${field.key} or ${field.holds.variable}`
      problems.push({ key: field.holds.key, line: written.line, message })
    }
  }
}

/** The secret in the file at `path`; in words that follow the key, why there is none. */
function heldIn(path: string): { secret: string } | string {
  try {
    const { text, exposure } = readChecked(path)
    if (exposure !== null) return `names ${path}, which ${exposure}: chmod 600 it, or 0640 where it is root's own`
    const secret = text.replace(/\r?\n$/, '')
    if (secret === '') return `names ${path}, which is empty`
    return secret.length <= SECRET_FILE_CHARACTERS_MAX
      ? { secret }
      : `names ${path}, which is too large to hold a secret`
  } catch (error) {
    return `names a file that cannot be read: ${messageOf(error)}`
  }
}
