/**
 * `npm run sbom`: writes dist/busbar.cdx.json, what the binaries are made of, as CycloneDX 1.5: the packages that are
 * bundled, their native addons, SQLite inside of one, and Bun, which runs them.
 *
 * It is read off package-lock.json, and the same lock gives the same bytes. `npm sbom --omit dev` leaves out packages that a
 * development dependency uses as well. With SOURCE_DATE_EPOCH set, the document carries that time.
 */

import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openSqlite } from '../shared/sqlite.ts'
import { bundledPackages, type Lock, type LockedPackage, nameOf } from './bundled-packages.ts'

const root = join(import.meta.dirname, '..')

/** What runs the programs, by the package that it comes from: one for each architecture of the binaries. */
const RUNTIMES = ['@oven/bun-linux-x64', '@oven/bun-linux-aarch64']
/** Addons that are embedded, by package. */
const ADDONS = { 'better-sqlite3': ['prebuilds/linux-x64.node', 'prebuilds/linux-arm64.node'] }

interface Component {
  readonly type: 'application' | 'library' | 'platform' | 'file'
  readonly 'bom-ref': string
  readonly name: string
  readonly version?: string
  readonly description?: string
  readonly licenses?: readonly object[]
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[]
  readonly purl?: string
  readonly components?: readonly Component[]
}

/** The document, from a lock. @param timeMs Unix milliseconds to date it with; undefined for no date. */
export function billOfMaterials(lock: Lock, timeMs: number | undefined): object {
  const { version = '0', license } = lock.packages[''] as LockedPackage
  const packages = bundledPackages(lock)
  const refOf = (path: string) => `${nameOf(path)}@${lock.packages[path]?.version}`
  const runtimes = RUNTIMES.map((name) => ({ name, locked: lock.packages[`node_modules/${name}`] as LockedPackage }))
  const components = [
    ...[...packages.keys()].map((path) => library(path, lock.packages[path] as LockedPackage)),
    ...runtimes.map(({ name, locked }) => ({ ...describe(name, locked), type: 'platform' as const })),
    sqlite(),
  ]
  const dependencies = [...packages].map(([path, needs]) => ({ ref: refOf(path), dependsOn: needs.map(refOf).sort() }))
  const own: Component = {
    type: 'application',
    'bom-ref': `busbar@${version}`,
    name: 'busbar',
    version,
    description: 'busbar-cloud and busbar-edge',
    ...(license === undefined || license === 'UNLICENSED' ? {} : { licenses: licences(license) }),
  }
  const direct = Object.keys(lock.packages['']?.dependencies ?? {}).map((name) => refOf(`node_modules/${name}`))
  const content = {
    metadata: {
      ...(timeMs === undefined ? {} : { timestamp: new Date(timeMs).toISOString() }),
      component: own,
    },
    components: unique(components, (component) => component['bom-ref']),
    dependencies: [
      {
        ref: own['bom-ref'],
        dependsOn: [...direct, ...runtimes.map(({ name, locked }) => `${name}@${locked.version}`)].sort(),
      },
      ...unique(dependencies, ({ ref }) => ref),
    ],
  }
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.5.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    serialNumber: serialNumber(content),
    version: 1,
    ...content,
  }
}

function library(path: string, locked: LockedPackage): Component {
  const name = nameOf(path)
  const files = (ADDONS as Readonly<Record<string, readonly string[]>>)[name]
  const component = describe(name, locked)
  return files === undefined ? component : { ...component, components: files.map((file) => addon(name, path, file)) }
}

function describe(name: string, { version = '0', license, integrity }: LockedPackage): Component {
  return {
    type: 'library',
    'bom-ref': `${name}@${version}`,
    name,
    version,
    ...(license === undefined ? {} : { licenses: licences(license) }),
    ...(integrity === undefined ? {} : { hashes: [hashOf(integrity)] }),
    purl: `pkg:npm/${name.replace('@', '%40')}@${version}`,
  }
}

function addon(name: string, path: string, file: string): Component {
  const content = createHash('sha256')
    .update(readFileSync(join(root, path, file)))
    .digest('hex')
  return { type: 'file', 'bom-ref': `${name}/${file}`, name: file, hashes: [{ alg: 'SHA-256', content }] }
}

/** Compiled into better-sqlite3, which says nothing of it in its package. */
function sqlite(): Component {
  const database = openSqlite(':memory:')
  const { version } = database.prepare('select sqlite_version() as version').get() as { version: string }
  database.close()
  const licenses = licences('blessing')
  return {
    type: 'library',
    'bom-ref': `sqlite@${version}`,
    name: 'sqlite',
    version,
    licenses,
    purl: `pkg:generic/sqlite@${version}`,
  }
}

/** An identifier of SPDX, or an expression of several. */
function licences(license: string): readonly object[] {
  return / (AND|OR|WITH) /.test(license) ? [{ expression: license }] : [{ license: { id: license } }]
}

/** Of the archive that npm fetches. */
function hashOf(integrity: string): { alg: string; content: string } {
  const [algorithm, base64 = ''] = integrity.split(/-(.*)/s)
  return { alg: `SHA-${algorithm?.slice(3)}`, content: Buffer.from(base64, 'base64').toString('hex') }
}

/** A UUID that says what the content is: nothing is drawn. */
function serialNumber(content: object): string {
  const hex = createHash('sha256').update(JSON.stringify(content)).digest('hex')
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)]
  return `urn:uuid:${parts.join('-')}`
}

/** The same version may lie in several places of node_modules. */
function unique<T>(all: readonly T[], keyOf: (one: T) => string): T[] {
  const byKey = new Map(all.map((one) => [keyOf(one), one]))
  return [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one)
}

if (import.meta.main) {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as Lock
  const epoch = process.env.SOURCE_DATE_EPOCH
  const path = join(root, 'dist', 'busbar.cdx.json')
  mkdirSync(join(root, 'dist'), { recursive: true })
  const document = billOfMaterials(lock, epoch === undefined ? undefined : Number(epoch) * 1000)
  writeFileSync(path, `${JSON.stringify(document, null, 2)}\n`)
  process.stdout.write(`${path}\n`)
}
