/** TOML with the line of every key, so that a problem can say where it is. */

import { type AST, getStaticTOMLValue, ParseError, parseTOML } from 'toml-eslint-parser'

export type TomlValue = string | number | boolean | Date | readonly unknown[]

/** One key of the file and its value; tables are spread into their keys. */
export interface TomlEntry {
  readonly path: readonly string[]
  readonly value: TomlValue | EmptyTable
  /** 1 for the first line. */
  readonly line: number
}

/** Stands for `key = {}`, which has no keys to spread. */
export const EMPTY_TABLE = Symbol('empty table')
export type EmptyTable = typeof EMPTY_TABLE

export class TomlSyntaxError extends Error {
  readonly line: number
  /** 1 for the first column. */
  readonly column: number

  constructor(message: string, line: number, column: number) {
    super(message)
    this.line = line
    this.column = column
  }
}

/**
 * The entries of a TOML 1.0 document, in its order. Elements of arrays of tables carry their position in the path.
 * @throws TomlSyntaxError
 */
export function parseEntries(text: string): TomlEntry[] {
  const entries: TomlEntry[] = []
  for (const node of parse(text).body[0].body) {
    if (node.type === 'TOMLKeyValue') addKeyValue(node, [], entries)
    else for (const pair of node.body) addKeyValue(pair, node.resolvedKey.map(String), entries)
  }
  return entries
}

function parse(text: string): AST.TOMLProgram {
  try {
    return parseTOML(text, { tomlVersion: '1.0' })
  } catch (error) {
    if (!(error instanceof ParseError)) throw error
    throw new TomlSyntaxError(error.message, error.lineNumber, error.column + 1)
  }
}

function addKeyValue(pair: AST.TOMLKeyValue, prefix: readonly string[], entries: TomlEntry[]): void {
  const path = [...prefix, ...pair.key.keys.map((key) => (key.type === 'TOMLBare' ? key.name : key.value))]
  const line = pair.loc.start.line
  if (pair.value.type !== 'TOMLInlineTable') {
    entries.push({ path, value: getStaticTOMLValue(pair.value) as TomlValue, line })
  } else if (pair.value.body.length === 0) {
    entries.push({ path, value: EMPTY_TABLE, line })
  } else {
    for (const inner of pair.value.body) addKeyValue(inner, path, entries)
  }
}
