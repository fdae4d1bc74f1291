/**
 * `npm run schemas`: writes the published schemas into proto/json and proto/avro, and the module that the cloud finds them
 * in. `npm run schemas:release` makes them the baseline that later ones are compared with; it refuses a change that would
 * break somebody's program.
 */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type PublishedFile, publishedFiles, TOPIC_SCHEMAS_PATH, topicSchemasModule } from './published-schemas.ts'
import { avroBreaks, jsonSchemaBreaks } from './schema-changes.ts'

const root = join(import.meta.dirname, '..')

function main(): void {
  const release = process.argv[2] === 'release'
  const files = publishedFiles()
  const breaks = files.flatMap((file) => breaksOf(file).map((each) => `${file.path}: ${each}`))
  for (const each of breaks) process.stderr.write(`breaks programs of others: ${each}\n`)
  if (breaks.length > 0) process.stderr.write('A breaking change takes a new type; see proto/README.md.\n')
  if (release && breaks.length > 0) process.exit(1)
  for (const file of files) write(release ? file.releasedPath : file.path, file.text)
  if (!release) write(TOPIC_SCHEMAS_PATH, topicSchemasModule())
}

function write(path: string, text: string): void {
  const whole = join(root, path)
  mkdirSync(dirname(whole), { recursive: true })
  writeFileSync(whole, text)
}

function breaksOf({ releasedPath, kind, text }: PublishedFile): string[] {
  const path = join(root, releasedPath)
  if (!existsSync(path)) return []
  const compare = kind === 'json' ? jsonSchemaBreaks : avroBreaks
  return compare(JSON.parse(readFileSync(path, 'utf8')), JSON.parse(text))
}

main()
