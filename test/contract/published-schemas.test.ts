import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Value } from '@sinclair/typebox/value'
import { Type } from 'avsc'
import { describe, expect, it, test } from 'vitest'
import { catalogue } from '../../cloud/bus/catalogue.ts'
import { CommandCreatedSchema } from '../../cloud/commands/commands.ts'
import { publishedFiles, TOPIC_SCHEMAS_PATH, topicSchemasModule } from '../../packaging/published-schemas.ts'
import { avroBreaks, jsonSchemaBreaks } from '../../packaging/schema-changes.ts'
import { TOPIC_SCHEMAS } from '../../proto/generated/avro/topic-schemas.ts'
import { projectDir } from '../support/child.ts'
import type { AnyJson } from '../support/json-request.ts'

const read = (path: string): string => readFileSync(join(projectDir, path), 'utf8')
const released = (kind: 'json' | 'avro', name = kind === 'json' ? 'command.created' : 'command_created'): AnyJson => {
  const file = publishedFiles().find((each) => each.kind === kind && each.path.includes(name))
  return JSON.parse(read(file?.releasedPath ?? ''))
}

describe('the published schemas', () => {
  test.each(publishedFiles().map((file) => [file.path, file] as const))(
    '%s is what the service validates with; `npm run schemas` writes it',
    (path, file) => {
      expect(read(path)).toBe(file.text)
    },
  )

  test.each(publishedFiles().map((file) => [file.path, file] as const))(
    '%s breaks no program that relies on the released one',
    (path, file) => {
      const compare = file.kind === 'json' ? jsonSchemaBreaks : avroBreaks
      expect(compare(JSON.parse(read(file.releasedPath)), JSON.parse(read(path)))).toEqual([])
    },
  )

  test('the module with the schemas of the topics is what `npm run schemas` writes', () => {
    expect(read(TOPIC_SCHEMAS_PATH)).toBe(topicSchemasModule())
  })

  test('a topic that the cloud publishes has an Avro schema; those for dead letters, which stay JSON, have none', () => {
    const deadLetterTopics = new Set(catalogue().map(({ deadLetterTopic }) => deadLetterTopic))
    const topics = catalogue().map(({ topic }) => topic)
    const wanted = topics.filter((topic) => !deadLetterTopics.has(topic))
    expect(Object.keys(TOPIC_SCHEMAS).sort()).toEqual(wanted.sort())
  })

  test.each(publishedFiles().filter(({ kind }) => kind === 'avro'))(
    '$path reads what the released one writes, and is read by it',
    ({ path, releasedPath }) => {
      const present = Type.forSchema(JSON.parse(read(path)))
      const before = Type.forSchema(JSON.parse(read(releasedPath)))
      expect(() => present.createResolver(before)).not.toThrow()
      expect(() => before.createResolver(present)).not.toThrow()
    },
  )

  test('the example in the schema is the one of the contract, and fits it', () => {
    const [example] = CommandCreatedSchema.examples
    expect(JSON.stringify(example)).toBe(
      '{"type":"command.created","id":"cmd-1a2b3c4d","device_id":"dev-xyz","name":"reboot","payload":{"force":true},' +
        '"created_at":"2025-01-01T12:00:00+00:00"}',
    )
    expect([...Value.Errors(CommandCreatedSchema, example)]).toEqual([])
    expect([...Value.Errors(CommandCreatedSchema, { ...example, payload: null })]).toEqual([])
  })
})

describe('a changed JSON Schema', () => {
  const changed = (change: (schema: AnyJson) => void): string[] => {
    const schema = released('json')
    change(schema)
    return jsonSchemaBreaks(released('json'), schema)
  }

  it.each<[string, (schema: AnyJson) => void]>([
    ['other words', (schema) => (schema.properties.name.description = 'Otherwise')],
    ['another title and examples', (schema) => Object.assign(schema, { title: 'x', examples: [] })],
    ['a new member that may be left out', (schema) => (schema.properties.site_id = { type: 'integer' })],
  ])('may have %s', (_what, change) => {
    expect(changed(change)).toEqual([])
  })

  it.each<[string, (schema: AnyJson) => void, string]>([
    ['lose a member', (schema) => delete schema.properties.name, '/name was removed'],
    [
      'rename a member',
      (schema) => {
        schema.properties.command = schema.properties.name
        delete schema.properties.name
      },
      '/name was removed',
    ],
    ['give a member another type', (schema) => (schema.properties.device_id.type = 'integer'), '/device_id: type was'],
    [
      'give a type to a member that had none',
      (schema) => (schema.properties.payload.type = 'object'),
      '/payload: type',
    ],
    ['narrow a pattern', (schema) => (schema.properties.name.pattern = '^[A-Z]+$'), '/name: pattern was'],
    ['widen a pattern', (schema) => (schema.properties.id.pattern = '.*'), '/id: pattern was'],
    ['add an enum', (schema) => (schema.properties.name.enum = ['REBOOT']), '/name: enum was absent'],
    ['change the type of the event', (schema) => (schema.properties.type.const = 'command.v2'), '/type: const was'],
    ['change a format', (schema) => delete schema.properties.created_at.format, '/created_at: format was'],
    [
      'add a member that is required',
      (schema) => {
        schema.properties.site_id = { type: 'integer' }
        schema.required.push('site_id')
      },
      '/site_id is required and was not',
    ],
    ['require less', (schema) => schema.required.pop(), '/created_at was required and is not'],
    ['be closed', (schema) => (schema.additionalProperties = false), 'additionalProperties was true'],
    ['have another id', (schema) => (schema.$id = 'urn:other'), '$id was'],
  ])('may not %s', (_what, change, found) => {
    expect(changed(change)).toEqual(expect.arrayContaining([expect.stringContaining(found)]))
  })

  it('may not narrow an enum, or change the items of a list, however deep', () => {
    const before = {
      type: 'object',
      properties: { at: { type: 'object', properties: { list: { type: 'array', items: { enum: ['a', 'b'] } } } } },
    }
    const narrowed = structuredClone(before)
    narrowed.properties.at.properties.list.items.enum = ['a']
    expect(jsonSchemaBreaks(before, narrowed)).toEqual(['/at/list/*: enum was ["a","b"] and is ["a"]'])
  })

  it('may have no new member where the released one is closed', () => {
    const closed = { type: 'object', properties: {}, additionalProperties: false }
    expect(jsonSchemaBreaks(closed, { ...closed, properties: { extra: { type: 'string' } } })).toHaveLength(1)
  })
})

describe('a changed Avro schema', () => {
  const field = (schema: AnyJson, name: string): AnyJson => schema.fields.find((each: AnyJson) => each.name === name)
  const changed = (change: (schema: AnyJson) => void): string[] => {
    const schema = released('avro')
    change(schema)
    return avroBreaks(released('avro'), schema)
  }

  it.each<[string, (schema: AnyJson) => void]>([
    ['other words', (schema) => (field(schema, 'name').doc = 'Otherwise')],
    [
      'a new field with a default',
      (schema) => schema.fields.push({ name: 'x', type: ['null', 'long'], default: null }),
    ],
  ])('may have %s', (_what, change) => {
    expect(changed(change)).toEqual([])
  })

  it.each<[string, (schema: AnyJson) => void, string]>([
    ['lose a field', (schema) => schema.fields.pop(), 'created_at was removed'],
    ['rename a field', (schema) => (field(schema, 'name').name = 'command'), 'name was removed'],
    ['give a field another type', (schema) => (field(schema, 'id').type = 'bytes'), 'id: type was'],
    ['let a field be null that could not', (schema) => (field(schema, 'id').type = ['null', 'string']), 'id: type was'],
    ['lose a default', (schema) => delete field(schema, 'payload').default, 'payload: default was'],
    ['have a new field without a default', (schema) => schema.fields.push({ name: 'x', type: 'long' }), 'x was added'],
    ['have another name', (schema) => (schema.name = 'CommandMade'), "the record's name was"],
    ['have another namespace', (schema) => (schema.namespace = 'busbar.v2'), "the record's namespace was"],
  ])('may not %s', (_what, change, found) => {
    expect(changed(change)).toEqual(expect.arrayContaining([expect.stringContaining(found)]))
  })

  it('of a record within records is told by the same rules', () => {
    const options = (schema: AnyJson): AnyJson => field(schema, 'options').type[1]
    const abort = (schema: AnyJson): AnyJson => field(options(schema), 'abort').type[1].items
    const change = (apply: (schema: AnyJson) => void): string[] => {
      const schema = released('avro', 'task_requested')
      apply(schema)
      return avroBreaks(released('avro', 'task_requested'), schema)
    }
    const fresh = { name: 'x', type: ['null', 'long'], default: null }
    expect(change((schema) => abort(schema).fields.push(fresh))).toEqual([])
    expect(change((schema) => (abort(schema).doc = 'Otherwise'))).toEqual([])
    expect(change((schema) => abort(schema).fields.pop())).toEqual(['options.abort.min_results was removed'])
    expect(change((schema) => options(schema).fields.push({ name: 'x', type: 'long' }))).toEqual([
      expect.stringContaining('options.x was added without a default'),
    ])
    expect(change((schema) => (field(options(schema), 'retries').type[1].name = 'Tries'))).toEqual([
      expect.stringContaining("options.retries: the record's name was"),
    ])
    expect(change((schema) => delete field(schema, 'round').json)).toEqual(['round: json was "absent" and is absent'])
  })

  it('may have no other kinds of values in a map', () => {
    const before = released('avro', 'device_telemetry')
    const present = released('avro', 'device_telemetry')
    field(present, 'telemetryData').type.values.push('bytes')
    expect(avroBreaks(before, present)).toEqual([expect.stringContaining('telemetryData: type was')])
  })
})
