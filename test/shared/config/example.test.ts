import type { TObject } from '@sinclair/typebox'
import { describe, expect, it } from 'vitest'
import { CLOUD_ENV_PREFIX, CloudConfigSchema } from '../../../cloud/config.ts'
import { EDGE_ENV_PREFIX, EdgeConfigSchema } from '../../../edge/config.ts'
import { renderExample } from '../../../shared/config/example.ts'
import { fieldsOf } from '../../../shared/config/fields.ts'
import { loadConfig } from '../../../shared/config/load.ts'

const programs: readonly (readonly [string, TObject, string])[] = [
  ['busbar-edge', EdgeConfigSchema, EDGE_ENV_PREFIX],
  ['busbar-cloud', CloudConfigSchema, CLOUD_ENV_PREFIX],
]

/** `# key = …` becomes `key = …`; other comments stay. */
function uncommented(example: string): string {
  return example.replace(/^# (?=\w+ = )/gm, '')
}

describe.each(programs)('the example of %s', (_name, schema, envPrefix) => {
  const example = renderExample(schema, envPrefix)

  it('loads as it is', () => {
    expect(() => loadConfig({ schema, text: example, env: {}, envPrefix })).not.toThrow()
  })

  it('holds every key, commented out at its default', () => {
    const asIs = loadConfig({ schema, text: example, env: {}, envPrefix })
    expect(loadConfig({ schema, text: uncommented(example), env: {}, envPrefix })).toEqual(asIs)
    for (const field of fieldsOf(schema, envPrefix)) {
      const name = field.kind === 'table' ? `[${field.key}]` : `${field.path[field.path.length - 1]} = `
      expect(uncommented(example)).toContain(name)
    }
  })

  it('describes every key', () => {
    for (const field of fieldsOf(schema, envPrefix)) expect(field.schema.description, field.key).toBeTruthy()
  })
})
