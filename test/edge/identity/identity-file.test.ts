import { chmodSync, chownSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type EnrolledIdentity, IdentityFile } from '../../../edge/identity/identity-file.ts'
import { gatewayCredentials } from '../../../edge/identity/uplink-credentials.ts'
import { startChild } from '../../support/child.ts'
import { identityWriter } from '../../support/identity-writer.ts'
import { describeWith } from '../../support/real-parts.ts'
import { tempDir } from '../../support/temp-dir.ts'

function identity(mark: string): EnrolledIdentity {
  return {
    gatewayId: 'gw-1',
    url: 'https://cloud.example/',
    apiAuthority: null,
    ingestAddress: 'cloud.example:7443',
    serverName: 'ingest.busbar.internal',
    privateKey: `key ${mark}`,
    // Larger than what one write takes on many file systems.
    certificate: `certificate ${mark} `.repeat(1_000),
    authority: `authority ${mark}`,
  }
}

async function place(): Promise<string> {
  return join(await tempDir(), 'identity')
}

const settings = { address: '', insecure: false, tls: { caFile: '', certFile: '', keyFile: '', serverName: '' } }

describe('the identity of a gateway', () => {
  test('is read anew when it was written by somebody else, who is heard', async () => {
    const dir = await place()
    const [file, other] = [new IdentityFile(dir), new IdentityFile(dir)]
    let told = 0
    file.onChanged(() => told++)
    file.look()
    expect(file.read()).toBeNull()
    other.write(identity('a'))
    file.look()
    file.look()
    expect({ told, read: file.read() }).toEqual({ told: 1, read: identity('a') })
  })

  test.each([
    [0o644, 'mode 0644'],
    [0o640, 'mode 0640'],
    [0o602, 'mode 0602'],
  ])('is not used from a file of mode %o', async (mode, said) => {
    const dir = await place()
    const file = new IdentityFile(dir)
    file.write(identity('a'))
    if (process.getuid?.() === 0) chownSync(file.path, 65_534, 65_534)
    chmodSync(file.path, mode)
    expect(() => file.read()).toThrow(expect.objectContaining({ code: 'IDENTITY_EXPOSED' }))
    expect(() => gatewayCredentials('gw-1', dir, settings).target()).toThrow(said)
    chmodSync(file.path, 0o600)
    expect(file.read()).toEqual(identity('a'))
  })

  test.each(['', '{"gatewayId": "gw-1"', '{"gatewayId": "gw-1"}', '"secret words"'])(
    'that is damaged (%s) stops the uplink only, without its contents in the error',
    async (text) => {
      const dir = await place()
      mkdirSync(dir)
      writeFileSync(join(dir, 'identity.json'), text, { mode: 0o600 })
      const error = (() => {
        try {
          return gatewayCredentials('gw-1', dir, settings).target()
        } catch (thrown) {
          return thrown
        }
      })()
      expect(error).toMatchObject({ code: 'IDENTITY_UNREADABLE' })
      expect(String(error)).not.toContain('secret words')
    },
  )

  test('is for the gateway that it was given to', async () => {
    const dir = await place()
    new IdentityFile(dir).write(identity('a'))
    expect(() => gatewayCredentials('gw-2', dir, settings).target()).toThrow(
      expect.objectContaining({ code: 'IDENTITY_OF_ANOTHER' }),
    )
    expect(gatewayCredentials('gw-1', dir, settings).target()).toMatchObject({ address: 'cloud.example:7443' })
  })

  test.skipIf(process.getuid?.() !== 0)('belongs to whoever owns the data directory when root writes it', async () => {
    const dataDir = await tempDir()
    chownSync(dataDir, 65_534, 65_534)
    const dir = join(dataDir, 'identity')
    new IdentityFile(dir).write(identity('a'))
    const owners = [dir, join(dir, 'identity.json')].map((path) => statSync(path).uid)
    expect(owners).toEqual([65_534, 65_534])
  })
})

describeWith(['strace'], 'with strace cutting in', () => {
  test('a process that dies at any step of writing leaves the old identity or the new one, whole', async () => {
    const dir = await place()
    const file = new IdentityFile(dir)
    const next = join(await tempDir(), 'next.json')
    writeFileSync(next, JSON.stringify(identity('new')))
    const outcomes = new Set<string>()
    // Each step of the pending key, then of the identity: making the file beside, its bytes, its sync, its name.
    const steps = ['openat', 'write', 'fsync', '/^rename'].flatMap((call) =>
      [1, 2, 3, 4].map((when) => ({ call, when })),
    )
    const paths = ['identity.json', 'identity.json.tmp', 'pending-key.json', 'pending-key.json.tmp', '.']
      .map((name) => join(dir, name === '.' ? '' : name))
      .flatMap((path) => ['-P', path.replace(/\/$/, '')])
    for (const { call, when } of steps) {
      file.write(identity('old'))
      const strace = ['strace', '-f', '-o', '/dev/null', ...paths, '-e', `inject=${call}:signal=KILL:when=${when}`]
      const child = startChild({ command: [...strace, ...identityWriter(dir, next)] as [string, ...string[]] })
      await child.exited
      const found = new IdentityFile(dir).read()
      expect([identity('old'), identity('new')]).toContainEqual(found)
      outcomes.add(`${found?.privateKey} ${child.output().includes('written')}`)
      // And the next one can write again, whatever lies about.
      new IdentityFile(dir).write(identity('again'))
      expect(readdirSync(dir).filter((name) => !/^(identity|pending-key)\.json(\.tmp)?$/.test(name))).toEqual([])
    }
    expect([...outcomes].toSorted()).toEqual(['key new false', 'key new true', 'key old false'])
  }, 60_000)
})
