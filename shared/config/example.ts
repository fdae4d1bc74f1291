/** A commented TOML file with every key at its default, for operators to start from. */

import type { TObject } from '@sinclair/typebox'
import { expectation, type Field, fieldsOf, isRequired, sectionsOf } from './fields.ts'

const WIDTH = 100

/** Keys stand commented out at their defaults; those without one stand at a sample, to be changed. */
export function renderExample(schema: TObject, envPrefix: string): string {
  const fields = fieldsOf(schema, envPrefix)
  const lines = [
    `# Every key, at its default. Each can also be set by environment: ${fields[0]?.variable}, and so on;`,
    '# the environment wins over this file. Lists are comma separated there, tables are NAME=VALUE,NAME=VALUE.',
  ]
  for (const section of sectionsOf(schema)) {
    const own = fields.filter((field) => field.path.slice(0, -1).join('.') === section.key)
    const tables = own.filter((field) => field.kind === 'table')
    if (own.length === 0) continue
    lines.push('', ...comment(section.description), `[${section.key}]`)
    for (const field of own) if (!tables.includes(field)) lines.push(...renderField(field))
    for (const table of tables) lines.push('', ...renderTable(table))
  }
  return `${lines.join('\n')}\n`
}

function renderField(field: Field): string[] {
  const name = field.path[field.path.length - 1]
  const value = field.schema.default ?? field.schema.sample
  return [
    '',
    ...comment(`${sentence(field.schema.description)} ${capital(expectation(field))}.`),
    `${isRequired(field) ? '' : '# '}${name} = ${toml(value)}`,
  ]
}

function renderTable(field: Field): string[] {
  const entries = Object.entries(field.schema.default as Record<string, string | number>)
  return [
    ...comment(`${sentence(field.schema.description)} ${capital(expectation(field))}.`),
    `[${field.key}]`,
    ...entries.map(([name, value]) => `# ${name} = ${toml(value)}`),
  ]
}

/** As TOML, tables in one line. JSON's strings, numbers, booleans and lists of strings are TOML's too. */
export function toml(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(toml).join(', ')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const pairs = Object.entries(value).map(([name, each]) => `${JSON.stringify(name)} = ${toml(each)}`)
  return pairs.length === 0 ? '{}' : `{ ${pairs.join(', ')} }`
}

/** Words of `text` on comment lines of at most WIDTH columns. */
function comment(text: string): string[] {
  const lines: string[] = []
  for (const word of text.split(' ').filter(Boolean)) {
    const last = lines[lines.length - 1]
    if (last !== undefined && last.length + 1 + word.length <= WIDTH) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(`# ${word}`)
  }
  return lines
}

function sentence(text: string | undefined): string {
  if (text === undefined || text === '') return ''
  return text.endsWith('.') ? text : `${text}.`
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
