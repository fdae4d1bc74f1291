/** The config as a program takes it: every key with its value and where that comes from, secrets hidden. */

import type { Static, TObject } from '@sinclair/typebox'
import { toml } from './example.ts'
import { type Field, isSecret } from './fields.ts'
import type { ReadConfig } from './load.ts'
import type { Setting } from './settings.ts'

/** @param file that was read, for the places of what it sets. */
export function renderConfig<T extends TObject>(
  { config, fields, settings }: ReadConfig<T>,
  file: string | undefined,
): string {
  const lines = ['# The settings in force, and where each comes from; those without a remark have their default.']
  // The key of a secret says which file holds it; the key that names the file need not.
  const shown = fields.filter(({ holds }) => holds === undefined)
  for (const [section, own] of Map.groupBy(shown, ({ path }) => path.slice(0, -1).join('.'))) {
    lines.push('', `[${section}]`)
    for (const field of own) lines.push(renderKey(field, valueAt(config, field), settings.get(field), file))
  }
  return `${lines.join('\n')}\n`
}

function renderKey(field: Field, value: unknown, setting: Setting | undefined, file: string | undefined): string {
  const name = field.path[field.path.length - 1]
  const remark = setting === undefined ? '' : `  # ${placeOf(setting, file)}`
  return isSecret(field, value) ? `# ${name} = (hidden)${remark}` : `${name} = ${toml(value)}${remark}`
}

function placeOf({ line, variable, heldIn }: Setting, file: string | undefined): string {
  const place = variable ?? `${file ?? 'the config'}, line ${line}`
  return heldIn === undefined ? place : `the file ${heldIn}, which ${place} names`
}

function valueAt(config: Static<TObject>, field: Field): unknown {
  return field.path.reduce((section: unknown, name) => (section as Record<string, unknown>)[name], config)
}
