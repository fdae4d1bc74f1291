import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { edgeCommandLine } from '../../../edge/cli/program.ts'
import { paintWith } from '../../../shared/cli/terminal.ts'
import { tempDir } from '../../support/temp-dir.ts'

interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** A gateway's command line in this process, and where it writes. */
async function gateway() {
  const dir = await tempDir()
  const out = join(dir, 'out')
  const ca = async (...args: readonly string[]): Promise<Outcome> => {
    let [stdout, stderr] = ['', '']
    const terminal = {
      out: (text: string) => {
        stdout += text
      },
      err: (text: string) => {
        stderr += text
      },
      isInteractive: false,
      paint: paintWith(false),
    }
    const env = { BUSBAR_EDGE_GATEWAY_DATA_DIR: dir }
    const code = await edgeCommandLine(terminal, env).run(['bun', 'busbar-edge', 'ca', ...args])
    return { code, stdout, stderr }
  }
  return { dir, out, ca, authority: (file: string) => join(dir, 'authority', file) }
}

const modeOf = (file: string) => statSync(file).mode & 0o777

describe('busbar-edge ca', () => {
  test('makes an authority once, with a key for its owner alone', async () => {
    const { ca, authority } = await gateway()
    const made = await ca('init')
    expect(made).toMatchObject({ code: 0, stdout: `${authority('ca.pem')}\n` })
    expect(modeOf(authority('ca.key'))).toBe(0o600)
    const key = readFileSync(authority('ca.key'), 'utf8')
    expect(await ca('init')).toMatchObject({ code: 1, stderr: expect.stringContaining('AUTHORITY_EXISTS') })
    expect(readFileSync(authority('ca.key'), 'utf8')).toBe(key)
  })

  test('issues what openssl accepts, tells where it goes, and lists it', async () => {
    const { ca, authority, out } = await gateway()
    await ca('init')
    const { code, stdout, stderr } = await ca(
      'issue',
      '--site',
      '1',
      '--serial',
      'INV-001',
      '--out',
      out,
      '--days',
      '30',
    )
    expect(code).toBe(0)
    expect(stdout.split('\n')).toEqual(
      ['INV-001.pem', 'INV-001.key', 'ca.pem'].map((name) => join(out, name)).concat(''),
    )
    expect(stderr).toContain(`mosquitto_pub -h `)
    expect(stderr).toContain(`-t sites/1/devices/INV-001/telemetry -m '{"powerKw": 45.2}'`)
    expect(modeOf(join(out, 'INV-001.key'))).toBe(0o600)
    const verify = [
      'verify',
      '-x509_strict',
      '-purpose',
      'sslclient',
      '-CAfile',
      authority('ca.pem'),
      join(out, 'INV-001.pem'),
    ]
    expect(execFileSync('openssl', verify, { encoding: 'utf8' })).toContain('OK')
    const certificate = new X509Certificate(readFileSync(join(out, 'INV-001.pem')))
    expect(certificate).toMatchObject({ subject: 'CN=INV-001', subjectAltName: 'URI:urn:busbar:device:1:INV-001' })

    await ca('issue', '--role', 'operator', '--username', 'alice', '--out', out)
    const listed = await ca('list')
    expect(listed.stdout).toMatch(
      /^urn:busbar:device:1:INV-001\t\d{4}-\d\d-\d\d\tgood\t[0-9A-F]{32}\nurn:busbar:operator:alice\t/,
    )
    // The same name again would overwrite its key.
    expect(await ca('issue', '--role', 'operator', '--username', 'alice', '--out', out)).toMatchObject({ code: 1 })
    // So would the certificate of an authority that lies there and is another one's.
    writeFileSync(join(out, 'ca.pem'), 'of another one')
    expect(await ca('issue', '--serial', 'INV-002', '--site', '1', '--out', out)).toMatchObject({ code: 1 })
    expect(readFileSync(join(out, 'ca.pem'), 'utf8')).toBe('of another one')
  })

  test('signs the request of a device that keeps its key, and takes no name from it', async () => {
    const { ca, authority, dir, out } = await gateway()
    await ca('init')
    const csr = join(dir, 'device.csr')
    const request = [
      'req',
      '-new',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-keyout',
      join(dir, 'device.key'),
      '-subj',
      '/CN=root',
      '-out',
      csr,
    ]
    execFileSync('openssl', request, { stdio: 'pipe' })
    expect((await ca('issue', '--site', '1', '--serial', 'MTR-1', '--csr', csr, '--out', out)).code).toBe(0)
    expect(existsSync(join(out, 'MTR-1.key'))).toBe(false)
    expect(new X509Certificate(readFileSync(join(out, 'MTR-1.pem'))).subject).toBe('CN=MTR-1')
    expect(
      execFileSync('openssl', ['verify', '-CAfile', authority('ca.pem'), join(out, 'MTR-1.pem')], { encoding: 'utf8' }),
    ).toContain('OK')
    await writeFile(csr, 'no request')
    expect(await ca('issue', '--site', '1', '--serial', 'MTR-2', '--csr', csr, '--out', out)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('REQUEST_INVALID'),
    })
  })

  test('revokes all of a name, or one by its number', async () => {
    const { ca, out, authority } = await gateway()
    await ca('init')
    await ca('issue', '--site', '1', '--serial', 'INV-001', '--out', out)
    await ca('issue', '--role', 'observer', '--username', 'scada', '--out', out)
    expect((await ca('revoke', 'INV-001')).stdout).toMatch(/^[0-9A-F]{32}\turn:busbar:device:1:INV-001\n$/)
    expect(await ca('revoke', 'INV-001')).toMatchObject({ code: 0, stdout: '' })
    expect(await ca('revoke', 'nobody')).toMatchObject({ code: 1, stderr: expect.stringContaining('ca list') })
    expect((await ca('revoke', '--number', '0a:FF')).stdout).toBe('AFF\t-\n')
    const states = JSON.parse((await ca('list', '--json')).stdout).map(({ name, state }: Record<string, string>) => [
      name,
      state,
    ])
    expect(states).toEqual([
      ['INV-001', 'revoked'],
      ['scada', 'good'],
    ])
    expect(modeOf(authority('revoked.json'))).toBe(0o600)
  })

  test('makes a certificate of the broker for the names of the machine and those given', async () => {
    const { ca, authority } = await gateway()
    await ca('init')
    await ca('server', '--name', 'gateway.example.org', '--name', '10.9.8.7')
    await ca('server')
    const pem = readFileSync(authority('server.pem'), 'utf8')
    const { subjectAltName = '' } = new X509Certificate(pem)
    for (const name of ['DNS:localhost', 'DNS:gateway.example.org', 'IP Address:127.0.0.1', 'IP Address:10.9.8.7']) {
      expect(subjectAltName.split(', ')).toContain(name)
    }
    const verify = [
      'verify',
      '-x509_strict',
      '-purpose',
      'sslserver',
      '-CAfile',
      authority('ca.pem'),
      authority('server.pem'),
    ]
    expect(execFileSync('openssl', verify, { encoding: 'utf8' })).toContain('OK')
  })

  test.each([
    [['issue', '--site', '1', '--serial', 'INV 001'], 64, 'cannot be a name'],
    [['issue', '--serial', 'INV-001'], 64, 'needs --site and --serial'],
    [['issue', '--role', 'observer'], 64, 'needs --username'],
    [['issue', '--site', '1', '--serial', 'INV-001', '--days', '0'], 64, 'whole number'],
    [['revoke'], 64, '--number'],
    [['server', '--name', 'a b'], 64, 'neither a host name'],
    [['issue', '--site', '1', '--serial', 'INV-001'], 1, 'busbar-edge ca init'],
  ])('says what is wrong with %j', async (args, code, said) => {
    const { ca } = await gateway()
    expect(await ca(...args)).toMatchObject({ code, stdout: '', stderr: expect.stringContaining(said) })
  })

  test('uses no key that others can read', async () => {
    const { ca, authority, out } = await gateway()
    await ca('init')
    await chmod(authority('ca.key'), 0o644)
    const outcome = await ca('issue', '--site', '1', '--serial', 'INV-001', '--out', out)
    expect(outcome).toMatchObject({ code: 1, stderr: expect.stringContaining('AUTHORITY_EXPOSED') })
  })
})
