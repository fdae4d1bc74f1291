/**
 * The schemas that other people's programs read: JSON Schema and Avro files in proto/, made from the TypeBox schemas that the
 * services validate with. See proto/README.md.
 */

import type { TObject, TSchema } from '@sinclair/typebox'
import { CommandCreatedSchema } from '../cloud/commands/commands.ts'

/** A file with its text, its path relative to the project. */
export interface PublishedFile {
  readonly path: string
  /** What it was at the last release. */
  readonly releasedPath: string
  readonly kind: 'json' | 'avro'
  readonly text: string
}

interface PublishedEvent {
  /** Its `type`: a breaking change takes a new one, such as command.v2.created. */
  readonly type: string
  readonly schema: TObject
  readonly avroName: string
  readonly avroFile: string
}

const EVENTS: readonly PublishedEvent[] = [
  {
    type: 'command.created',
    schema: CommandCreatedSchema,
    avroName: 'CommandCreated',
    avroFile: 'command_created_v1.avsc',
  },
]

const DIALECT = 'https://json-schema.org/draft/2020-12/schema'
const AVRO_NAMESPACE = 'busbar.v1'

export function publishedFiles(): PublishedFile[] {
  return EVENTS.flatMap((event): PublishedFile[] => {
    const jsonFile = `${event.type}.schema.json`
    return [
      {
        path: `proto/json/${jsonFile}`,
        releasedPath: `proto/json/released/${jsonFile}`,
        kind: 'json',
        text: fileText(jsonSchema(event)),
      },
      {
        path: `proto/avro/${event.avroFile}`,
        releasedPath: `proto/avro/released/${event.avroFile}`,
        kind: 'avro',
        text: fileText(avroSchema(event)),
      },
    ]
  })
}

function jsonSchema({ type, schema }: PublishedEvent): object {
  const { $id: _, title, description, ...rest } = schema
  return { $schema: DIALECT, $id: `urn:busbar:schema:${type}`, title, description, ...rest }
}

function avroSchema({ schema, avroName }: PublishedEvent): object {
  const required = new Set(schema.required)
  return {
    type: 'record',
    name: avroName,
    namespace: AVRO_NAMESPACE,
    doc: schema.description,
    fields: Object.entries(schema.properties).map(([name, member]) => avroField(name, member, required.has(name))),
  }
}

function avroField(name: string, schema: TSchema, required: boolean): object {
  const { description: doc } = schema
  // Any JSON has no type of its own in Avro.
  if (schema.type === undefined) {
    return { name, type: ['null', 'string'], default: null, doc: `As JSON text. ${doc}` }
  }
  const type = AVRO_TYPES[schema.type as string]
  if (type === undefined) throw new Error(`no Avro type is agreed on for ${name}, which is of type ${schema.type}`)
  return required ? { name, type, doc } : { name, type: ['null', type], default: null, doc }
}

const AVRO_TYPES: Readonly<Record<string, string>> = {
  string: 'string',
  boolean: 'boolean',
  integer: 'long',
  number: 'double',
}

function fileText(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
