/** Keys that the environment sets. */

import { type Field, isTableOfNumbers } from './fields.ts'

/** Names that Kubernetes gives every container of a namespace with a Service named like the program; not ours. */
const SERVICE_LINK = /^(SERVICE_(HOST|PORT(_.+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_.+)?)?)$/

/** Variables that begin with `envPrefix`, without those that mean something else. */
export function ownVariables(
  env: Readonly<Record<string, string | undefined>>,
  envPrefix: string,
  ignored: readonly string[],
): Map<string, string> {
  const own = new Map<string, string>()
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || !name.startsWith(envPrefix) || ignored.includes(name)) continue
    if (SERVICE_LINK.test(name.slice(envPrefix.length))) continue
    own.set(name, value)
  }
  return own
}

/** The text as a value of the field's kind; returned as it is when it cannot be one, for the check to refuse. */
export function fromText(field: Field, text: string): unknown {
  switch (field.kind) {
    case 'string':
    case 'choice':
      return text
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : text
    case 'integer':
    case 'number':
      return numberOrText(text)
    case 'list':
      return splitList(text)
    case 'table':
      return fromPairs(splitList(text), isTableOfNumbers(field) ? numberOrText : (value) => value) ?? text
  }
}

function numberOrText(text: string): number | string {
  return /^[+-]?\d[\d_]*(\.\d+)?(e[+-]?\d+)?$/i.test(text) ? Number(text.replaceAll('_', '')) : text
}

function splitList(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

/** `['INV=SOLAR_INVERTER']` as a table, or null when a part is no pair. */
function fromPairs<V>(parts: readonly string[], read: (text: string) => V): Record<string, V> | null {
  const table: Record<string, V> = {}
  for (const part of parts) {
    const equals = part.indexOf('=')
    if (equals < 1) return null
    table[part.slice(0, equals).trim()] = read(part.slice(equals + 1).trim())
  }
  return table
}
