import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Type } from '@sinclair/typebox'
import { afterAll, describe, expect, it } from 'vitest'
import { secretText, section, text } from '../../../shared/config/keys.ts'
import { loadConfig, readConfig } from '../../../shared/config/load.ts'
import { readTlsFiles } from '../../../shared/config/pem.ts'
import { renderConfig } from '../../../shared/config/show.ts'
import type { BusbarError } from '../../../shared/errors.ts'

const schema = Type.Object({
  kafka: section('Kafka.', {
    username: text('', 'User'),
    password: secretText('', 'Password', '8 characters or more', '^(.{8,})?$'),
  }),
  database: section('Database.', { url: secretText('sqlite:x', 'URL', 'a URL', undefined, '://[^/]*:.*@') }),
})

const dir = mkdtempSync(join(tmpdir(), 'busbar-secrets-'))
afterAll(() => rmSync(dir, { recursive: true }))

/** Mode bits beside those of its owner are what the tests are about; root has a rule of its own. */
const asRoot = process.getuid?.() === 0

function write(name: string, content: string, mode = 0o600): string {
  const path = join(dir, name)
  writeFileSync(path, content)
  chmodSync(path, mode)
  return path
}

function load(source: { file?: string; env?: Record<string, string> }) {
  return loadConfig({ schema, env: {}, envPrefix: 'B_', ...source })
}

function failure(fn: () => unknown): string {
  try {
    fn()
  } catch (error) {
    return (error as BusbarError).message
  }
  throw new Error('it was accepted')
}

describe('a secret', () => {
  it('is read from the file that its key names, without the line break at its end', () => {
    const path = write('password', ' correct horse\r\n')
    expect(load({ env: { B_KAFKA_PASSWORD_FILE: path } }).kafka).toEqual({ username: '', password: ' correct horse' })
    const config = write('names-it.toml', `[kafka]\npasswordFile = "${path}"\n`, 0o644)
    expect(load({ file: config }).kafka.password).toBe(' correct horse')
  })

  it('is not taken from a file that others can open; what a link leads to is what counts', () => {
    for (const mode of [0o604, 0o644, 0o660, 0o620, 0o601]) {
      const env = { B_KAFKA_PASSWORD_FILE: write(`mode-${mode.toString(8)}`, 'correct horse', mode) }
      const octal = mode.toString(8).padStart(4, '0')
      expect(failure(() => load({ env }))).toContain(
        `which others than its owner can open (mode ${octal}): chmod 600 it`,
      )
    }
    // As Kubernetes mounts secrets: a link to a directory that is swapped as a whole.
    mkdirSync(join(dir, '..data'))
    write('..data/password', 'correct horse', 0o400)
    symlinkSync(join('..data', 'password'), join(dir, 'mounted'))
    expect(load({ env: { B_KAFKA_PASSWORD_FILE: join(dir, 'mounted') } }).kafka.password).toBe('correct horse')
    chmodSync(join(dir, '..data/password'), 0o444)
    expect(failure(() => load({ env: { B_KAFKA_PASSWORD_FILE: join(dir, 'mounted') } }))).toContain('(mode 0444)')
  })

  it.runIf(asRoot)('may be readable by the group of a file that is root’s own', () => {
    const env = { B_KAFKA_PASSWORD_FILE: write('roots', 'correct horse', 0o640) }
    expect(load({ env }).kafka.password).toBe('correct horse')
  })

  it('stands in one place', () => {
    const path = write('password-2', 'correct horse')
    const env = { B_KAFKA_PASSWORD: 'correct horse', B_KAFKA_PASSWORD_FILE: path }
    expect(failure(() => load({ env }))).toContain('kafka.passwordFile must not be set beside kafka.password')
  })

  it('says what is wrong with its file, and not what is in it', () => {
    const problem = (content: string) => failure(() => load({ env: { B_KAFKA_PASSWORD_FILE: write('bad', content) } }))
    expect(problem('short-1')).toContain('kafka.password is (hidden), must be 8 characters or more')
    expect(problem('short-1')).not.toContain('short-1')
    expect(problem('\n')).toContain('which is empty')
    expect(problem('x'.repeat(70_000))).toContain('too large')
    expect(failure(() => load({ env: { B_KAFKA_PASSWORD_FILE: join(dir, 'nowhere') } }))).toContain('cannot be read')
  })

  it('is refused in a config file that others can open; what is no secret is not', () => {
    const toml = '[kafka]\nusername = "busbar"\npassword = "correct horse"\n'
    expect(failure(() => load({ file: write('open.toml', toml, 0o644) }))).toMatch(
      /line 3: kafka\.password is in this file, .+ \(mode 0644\): chmod 600 the file, or set kafka\.passwordFile or B_KAFKA_PASSWORD$/,
    )
    expect(load({ file: write('shut.toml', toml, 0o600) }).kafka.password).toBe('correct horse')
    expect(load({ file: write('url.toml', 'database.url = "sqlite:y"', 0o644) }).database.url).toBe('sqlite:y')
    const withPassword = 'database.url = "postgres://a:b@c/d"'
    expect(failure(() => load({ file: write('pg.toml', withPassword, 0o644) }))).toContain(
      'database.url is in this file',
    )
    // What the environment overrides is there for others to read all the same, and is not what is used.
    expect(load({ file: write('over.toml', toml, 0o644), env: { B_KAFKA_PASSWORD: 'battery staple' } })).toBeTruthy()
  })
})

describe('the config that is shown', () => {
  it('has every value and its place, and no secret', () => {
    const password = write('shown', 'correct horse')
    const file = write('shown.toml', `[kafka]\nusername = "busbar"\npasswordFile = "${password}"\n`)
    const env = { B_DATABASE_URL: 'postgres://busbar:hunter2@db/x' }
    expect(
      renderConfig(readConfig({ schema, file, env, envPrefix: 'B_' }), file)
        .split('\n')
        .slice(2),
    ).toEqual([
      '[kafka]',
      `username = "busbar"  # ${file}, line 2`,
      `# password = (hidden)  # the file ${password}, which ${file}, line 3 names`,
      '',
      '[database]',
      '# url = (hidden)  # B_DATABASE_URL',
      '',
    ])
    expect(renderConfig(readConfig({ schema, env: {}, envPrefix: 'B_' }), undefined)).toContain('url = "sqlite:x"')
  })
})

describe('a private key', () => {
  it('is taken only from a file that nobody else can open; certificates may be anyone’s', () => {
    const cert = write('cert.pem', 'certificate', 0o644)
    const key = write('key.pem', 'key', 0o600)
    const files = { certFile: cert, keyFile: key }
    expect(readTlsFiles('api.tls', files)).toEqual({ cert: 'certificate', key: 'key' })
    chmodSync(key, 0o644)
    expect(() => readTlsFiles('api.tls', files)).toThrow(/^api\.tls\.keyFile names .+, which others than its owner can/)
  })
})
