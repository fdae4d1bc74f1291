/** The import arrows: who may know whom. */

import { dirname, normalize } from 'node:path/posix'

interface Import {
  /** A path in the project without a leading `./`, or the name of a package. */
  readonly target: string
  readonly line: number
  readonly typeOnly: boolean
}

/** Cloud folders that every service may use; of the others it may use the public file only. */
const SHARED_CLOUD_FOLDERS = ['bus', 'database', 'registry']
/** Files that choose implementations and join parts. */
const COMPOSITION_ROOTS = /^(cloud|edge)\/([a-z-]+\.ts|cli\/.+)$/
/** Where an implementation of the bus is chosen. */
const BUS_CHOICE = 'cloud/bus/create-bus.ts'
/** Packages that one folder alone knows. */
const PACKAGE_HOMES: Readonly<Record<string, readonly string[]>> = {
  '@platformatic/kafka': ['cloud/bus/kafka/'],
  kafkajs: ['cloud/bus/kafka/'],
  avsc: ['cloud/bus/encoding/'],
  aedes: ['edge/broker/'],
  '@grpc/grpc-js': ['edge/uplink/', 'cloud/ingest/', 'edge/cli/doctor/', 'proto/generated/'],
  'better-sqlite3': ['shared/sqlite.ts'],
  '@peculiar/x509': ['shared/x509.ts'],
  pg: ['cloud/database/'],
  jose: ['cloud/identity/'],
  elysia: ['cloud/api/'],
  commander: ['shared/cli/', 'edge/cli/', 'cloud/cli/'],
  'openid-client': ['cloud/identity/'],
  pino: ['shared/log.ts'],
}

/** What is wrong with the imports of one source file; each message begins with the line. */
export function importViolations(file: string, text: string): string[] {
  if (!/^(edge|cloud|shared)\//.test(file)) return []
  return importsOf(file, text).flatMap((imported) => {
    const reason = forbidden(file, imported)
    return reason === null ? [] : [`${imported.line}: imports ${imported.target}: ${reason}`]
  })
}

function forbidden(file: string, { target, typeOnly }: Import): string | null {
  const home = PACKAGE_HOMES[packageOf(target)]
  if (home !== undefined && !home.some((prefix) => file.startsWith(prefix))) return `only ${home.join(', ')} may`
  const [side] = file.split('/')
  const [targetSide] = target.split('/')
  if (targetSide === 'test' || targetSide === 'packaging') return 'it is not part of the programs'
  if (side === 'shared' && (targetSide === 'edge' || targetSide === 'cloud')) return 'shared knows neither side'
  if (side === 'edge' && targetSide === 'cloud') return 'the edge does not know the cloud'
  if (side === 'cloud' && targetSide === 'edge') return 'the cloud does not know the edge'
  if (COMPOSITION_ROOTS.test(file)) return null
  if (/^(edge|cloud)\/(main|config|gateway|core)\.ts$/.test(target) && !isConfigType(target, typeOnly)) {
    return 'parts take options of their own and do not know what joins them'
  }
  return targetSide === 'cloud' ? forbiddenInCloud(file, target, typeOnly) : null
}

/** Health and command line may name the type of the config; nobody but the roots reads it. */
function isConfigType(target: string, typeOnly: boolean): boolean {
  return typeOnly && target.endsWith('/config.ts')
}

function forbiddenInCloud(file: string, target: string, typeOnly: boolean): string | null {
  const [, folder] = file.split('/')
  const [, targetFolder = '', ...rest] = target.split('/')
  if (folder === targetFolder) return null
  if (target === BUS_CHOICE) return 'composition roots alone choose the bus'
  if (SHARED_CLOUD_FOLDERS.includes(targetFolder)) {
    if (rest.length > 1) return `${targetFolder}/${rest[0]} is an implementation`
    // A store's row types are part of what its service shows; its queries are not.
    if (rest[0]?.endsWith('-store.ts') && !typeOnly) return 'a store belongs to its own service'
    return null
  }
  return target === `cloud/${targetFolder}/${targetFolder}.ts` ? null : `its public file is ${targetFolder}.ts`
}

function packageOf(target: string): string {
  const parts = target.split('/')
  return target.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] as string)
}

function importsOf(file: string, text: string): Import[] {
  const imports: Import[] = []
  const pattern =
    /(?:^|\n)(import|export)\s+(type\s)?[^'"`;]*?from\s+'([^']+)'|import\(\s*'([^']+)'\s*\)|(?:^|\n)import\s+'([^']+)'/g
  for (const match of text.matchAll(pattern)) {
    const specifier = (match[3] ?? match[4] ?? match[5]) as string
    const target = specifier.startsWith('.') ? normalize(`${dirname(file)}/${specifier}`) : specifier
    // The match may begin with the end of the line before.
    const at = match.index + (match[0].startsWith('\n') ? 1 : 0)
    imports.push({ target, line: text.slice(0, at).split('\n').length, typeOnly: match[2] !== undefined })
  }
  return imports
}
