/** Writes the configuration of a process under test as TOML. */

export type TomlValue = string | number | boolean | readonly TomlValue[] | TomlTable
export interface TomlTable {
  readonly [key: string]: TomlValue | undefined
}

/** Keys that are undefined are left out; nested tables become `[a.b]`, arrays of tables `[[a]]`. */
export function toToml(table: TomlTable, path: readonly string[] = []): string {
  const lines: string[] = []
  const nested: string[] = []
  for (const [key, value] of Object.entries(table)) {
    if (value === undefined) continue
    const here = [...path, key]
    if (isTable(value)) {
      nested.push(`\n[${here.map(tomlKey).join('.')}]\n${toToml(value, here)}`)
    } else if (Array.isArray(value) && value.length > 0 && value.every(isTable)) {
      for (const item of value) nested.push(`\n[[${here.map(tomlKey).join('.')}]]\n${toToml(item, here)}`)
    } else {
      lines.push(`${tomlKey(key)} = ${scalar(value)}\n`)
    }
  }
  return lines.join('') + nested.join('')
}

/** `over` laid on `base`, table by table; an undefined value removes the key. */
export function mergeToml(base: TomlTable, over: TomlTable): TomlTable {
  const merged: Record<string, TomlValue | undefined> = { ...base }
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key]
    merged[key] = isTable(value) && isTable(below) ? mergeToml(below, value) : value
  }
  return merged
}

function isTable(value: TomlValue | undefined): value is TomlTable {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function tomlKey(key: string): string {
  return /^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key)
}

function scalar(value: TomlValue): string {
  if (Array.isArray(value)) return `[${value.map(scalar).join(', ')}]`
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}
