/**
 * Reads a config once: environment over file over defaults, into a frozen object of the schema's type. Every problem is
 * told at once, each with where it is, what the value is, and what it may be.
 */

import { readFileSync } from 'node:fs'
import type { Static, TObject } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { fromText, ownVariables } from './environment.ts'
import { expectation, type Field, fieldsOf, isRequired } from './fields.ts'
import { nearest } from './nearest.ts'
import { type ConfigProblem, configError, syntaxError, unreadableFile } from './problems.ts'
import { EMPTY_TABLE, parseEntries, type TomlEntry, TomlSyntaxError } from './toml.ts'

export interface LoadOptions<T extends TObject> {
  readonly schema: T
  /** Path of the TOML file; without one there are the environment and the defaults. */
  readonly file?: string | undefined
  /** The TOML itself instead of a file. */
  readonly text?: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Ends with an underscore: `BUSBAR_EDGE_`. */
  readonly envPrefix: string
  /** Variables with the prefix that are not keys. */
  readonly ignoredVariables?: readonly string[]
  /** What must hold between keys; called with every key in range, or at a stand-in when it is not. */
  readonly check?: (config: Static<T>) => readonly CrossProblem[]
}

/** A key whose value does not go with another's. */
export interface CrossProblem {
  readonly key: string
  /** What it must be and why, in words that follow the key. */
  readonly message: string
}

/** A value and where it was set. */
interface Setting {
  readonly value: unknown
  readonly line?: number
  readonly variable?: string
}

/**
 * @throws BusbarError CONFIG_INVALID with all problems; CONFIG_FILE_UNREADABLE when the file is missing or unreadable.
 */
export function loadConfig<T extends TObject>(options: LoadOptions<T>): Static<T> {
  const { schema, envPrefix } = options
  const fields = fieldsOf(schema, envPrefix)
  const problems: ConfigProblem[] = []
  const settings = new Map<Field, Setting>()

  const text = options.text ?? (options.file === undefined ? '' : readText(options.file))
  readFile(text, options.file, fields, settings, problems)
  readEnvironment(ownVariables(options.env, envPrefix, options.ignoredVariables ?? []), fields, settings, problems)

  const config: Record<string, unknown> = {}
  for (const field of fields) {
    const setting = settings.get(field)
    const problem = setting === undefined ? absence(field) : wrongness(field, setting)
    if (problem !== null) problems.push(problem)
    const value = problem === null && setting !== undefined ? setting.value : standIn(field)
    place(config, field.path, value)
  }

  const faulty = new Set(problems.map((problem) => problem.key))
  for (const cross of options.check?.(config as Static<T>) ?? []) {
    if (faulty.has(cross.key)) continue
    const field = fields.find((candidate) => candidate.key === cross.key)
    const { line, variable } = (field && settings.get(field)) ?? {}
    problems.push({ key: cross.key, message: cross.message, line, variable })
  }
  if (problems.length > 0) throw configError(problems, options.file)
  return deepFreeze(config) as Static<T>
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw unreadableFile(file, error)
  }
}

function readFile(
  text: string,
  file: string | undefined,
  fields: readonly Field[],
  settings: Map<Field, Setting>,
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
      problems.push({ key, line, message: unknown('key', nearest(key, known)) })
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

function readEnvironment(
  own: ReadonlyMap<string, string>,
  fields: readonly Field[],
  settings: Map<Field, Setting>,
  problems: ConfigProblem[],
): void {
  const variables = fields.map((field) => field.variable)
  for (const [variable, text] of own) {
    const field = fields.find((candidate) => candidate.variable === variable)
    if (field === undefined) {
      const near = nearest(variable, variables)
      problems.push({ key: variable, variable, message: unknown('variable', near) })
    } else {
      settings.set(field, { value: fromText(field, text), variable })
    }
  }
}

function unknown(what: string, near: string | null): string {
  return near === null ? `is no known ${what}` : `is no known ${what}; did you mean ${near}?`
}

function absence(field: Field): ConfigProblem | null {
  if (!isRequired(field)) return null
  return { key: field.key, message: `is required: set it in the file or as ${field.variable}; ${expectation(field)}` }
}

function wrongness(field: Field, setting: Setting): ConfigProblem | null {
  if (Value.Check(field.schema, setting.value)) return null
  const shown = field.schema.secret === true ? '(hidden)' : show(setting.value)
  const { line, variable } = setting
  return { key: field.key, line, variable, message: `is ${shown}, must be ${expectation(field)}` }
}

function show(value: unknown): string {
  if (value instanceof Date) return value.toISOString()
  if (typeof value === 'number') return String(value)
  return JSON.stringify(value) ?? String(value)
}

/** The default, or where there is none something of the right type, so that checks between keys can still run. */
function standIn(field: Field): unknown {
  return structuredClone(field.schema.default ?? field.schema.sample ?? '')
}

function place(config: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let section = config
  for (const name of path.slice(0, -1)) {
    section[name] ??= {}
    section = section[name] as Record<string, unknown>
  }
  section[path[path.length - 1] as string] = value
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  for (const child of Object.values(value)) deepFreeze(child)
  return Object.freeze(value)
}
