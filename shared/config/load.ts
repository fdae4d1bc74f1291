/**
 * Reads a config once: environment over file over defaults, into a frozen object of the schema's type. Every problem is
 * told at once, each with where it is, what the value is, and what it may be.
 */

import type { Static, TObject } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { expectation, type Field, fieldsOf, isRequired } from './fields.ts'
import { type CheckedFile, readChecked } from './private-file.ts'
import { type ConfigProblem, configError, unreadableFile } from './problems.ts'
import {
  type RetiredKeys,
  type Setting,
  type Settings,
  settingsOfEnvironment,
  settingsOfFile,
  settleSecrets,
} from './settings.ts'

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
  readonly retired?: RetiredKeys
  /** What must hold between keys; called with every key in range, or at a stand-in when it is not. */
  readonly check?: (config: Static<T>) => readonly CrossProblem[]
}

/** A key whose value does not go with another's. */
export interface CrossProblem {
  readonly key: string
  /** What it must be and why, in words that follow the key. */
  readonly message: string
}

/** A config with where each of its values comes from, for those who ask. */
export interface ReadConfig<T extends TObject> {
  readonly config: Static<T>
  /** Every key of the schema, in its order, with those that name the files of secrets. */
  readonly fields: readonly Field[]
  /** What is set; other keys have their defaults. */
  readonly settings: ReadonlyMap<Field, Setting>
}

/**
 * @throws BusbarError CONFIG_INVALID with all problems; CONFIG_FILE_UNREADABLE when the file is missing or unreadable.
 */
export function loadConfig<T extends TObject>(options: LoadOptions<T>): Static<T> {
  return readConfig(options).config
}

/** As `loadConfig`. */
export function readConfig<T extends TObject>(options: LoadOptions<T>): ReadConfig<T> {
  const { schema, envPrefix, env, ignoredVariables = [], retired = {} } = options
  const fields = fieldsOf(schema, envPrefix)
  const problems: ConfigProblem[] = []
  const settings: Settings = new Map()

  const { text, exposure } = readSource(options)
  settingsOfFile(text, options.file, fields, retired, settings, problems)
  settingsOfEnvironment(env, envPrefix, ignoredVariables, fields, retired, settings, problems)
  settleSecrets(fields, settings, exposure, problems)

  const config: Record<string, unknown> = {}
  for (const field of fields) {
    const setting = settings.get(field)
    const problem = setting === undefined ? absence(field) : wrongness(field, setting)
    if (problem !== null) problems.push(problem)
    // What a file of a secret holds is the value of another key.
    if (field.holds !== undefined) continue
    const value = problem === null && setting !== undefined ? setting.value : standIn(field)
    place(config, field.path, value)
  }

  const faulty = new Set(problems.map((problem) => problem.key))
  for (const cross of options.check?.(config as Static<T>) ?? []) {
    if (faulty.has(cross.key) || faulty.has(`${cross.key}File`)) continue
    const field = fields.find((candidate) => candidate.key === cross.key)
    const { line, variable } = (field && settings.get(field)) ?? {}
    problems.push({ key: cross.key, message: cross.message, line, variable })
  }
  if (problems.length > 0) throw configError(problems, options.file)
  return { config: deepFreeze(config) as Static<T>, fields, settings }
}

/** The text of the config, and whether others can read the file that it is in. */
function readSource({ text, file }: Pick<LoadOptions<TObject>, 'text' | 'file'>): CheckedFile {
  if (text !== undefined || file === undefined) return { text: text ?? '', exposure: null }
  try {
    return readChecked(file)
  } catch (error) {
    throw unreadableFile(file, error)
  }
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
