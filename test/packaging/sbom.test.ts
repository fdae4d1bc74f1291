import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { Lock } from '../../packaging/bundled-packages.ts'
import { billOfMaterials } from '../../packaging/sbom.ts'
import { projectDir } from '../support/child.ts'
import type { AnyJson } from '../support/json-request.ts'
import { describePython } from '../support/python.ts'
import { pythonEnvironment } from '../support/python-environment.ts'

const lock = JSON.parse(readFileSync(join(projectDir, 'package-lock.json'), 'utf8')) as Lock
const manifest = JSON.parse(readFileSync(join(projectDir, 'package.json'), 'utf8'))
const document: AnyJson = billOfMaterials(lock, undefined)
const named = (name: string): AnyJson[] => document.components.filter((component: AnyJson) => component.name === name)

it('has every package that is bundled, with its version, licence and hash, and Bun and SQLite besides', () => {
  for (const [name, version] of Object.entries(manifest.dependencies)) {
    expect(
      named(name).map((component) => component.version),
      name,
    ).toContain(version)
  }
  const packages = document.components.filter(({ name }: AnyJson) => name !== 'sqlite')
  expect(packages.length).toBeGreaterThan(100)
  for (const { name, version, licenses, hashes, purl } of packages) {
    expect({ version, licences: licenses?.length, hash: hashes?.[0]?.alg }, name).toEqual({
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      licences: 1,
      hash: 'SHA-512',
    })
    expect(purl).toBe(`pkg:npm/${name.replace('@', '%40')}@${version}`)
  }
  for (const name of ['@oven/bun-linux-x64', '@oven/bun-linux-aarch64']) {
    expect(named(name)).toMatchObject([{ type: 'platform', version: manifest.devDependencies.bun }])
  }
  expect(named('sqlite')).toMatchObject([{ version: expect.stringMatching(/^3\./) }])
  expect(named('better-sqlite3')[0].components).toHaveLength(2)
})

it('has none of what only development needs, nor what is for other machines', () => {
  const names: string[] = document.components.map(({ name }: AnyJson) => name)
  for (const name of Object.keys(manifest.devDependencies)) expect(names).not.toContain(name)
  expect(names.filter((name) => /darwin|win32|android|musl|freebsd/.test(name))).toEqual([])
})

it('is whole: what a package needs is in it', () => {
  const refs = new Set([...document.components, document.metadata.component].map((each: AnyJson) => each['bom-ref']))
  for (const { ref, dependsOn } of document.dependencies) {
    expect(refs, ref).toContain(ref)
    for (const needed of dependsOn) expect(refs, `${ref} needs it`).toContain(needed)
  }
})

it('is the same each time, and dated only when asked', () => {
  expect(billOfMaterials(lock, undefined)).toEqual(document)
  expect(document.metadata.timestamp).toBeUndefined()
  const dated: AnyJson = billOfMaterials(lock, 1_700_000_000_000)
  expect(dated.metadata.timestamp).toBe('2023-11-14T22:13:20.000Z')
  expect(document.serialNumber).toMatch(/^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/)
})

describePython('the bill of materials', (python3) => {
  it('is valid CycloneDX, says their own library', async () => {
    const python = await pythonEnvironment(python3)
    const dir = mkdtempSync(join(tmpdir(), 'busbar-sbom-'))
    try {
      writeFileSync(join(dir, 'bom.json'), JSON.stringify(document))
      const program = [
        'from cyclonedx.schema import SchemaVersion',
        'from cyclonedx.validation.json import JsonStrictValidator',
        `print(JsonStrictValidator(SchemaVersion.V1_5).validate_str(open('${dir}/bom.json').read()))`,
      ]
      expect(execFileSync(python, ['-c', program.join('\n')], { encoding: 'utf8' }).trim()).toBe('None')
    } finally {
      rmSync(dir, { recursive: true })
    }
  }, 120_000)
})
