import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { certifyingIngest } from '../../support/certifying-ingest.ts'
import { bunPath, projectDir } from '../../support/child.ts'
import { busbar } from '../../support/command.ts'
import { enrolmentCloud } from '../../support/enrolment-cloud.ts'
import { tempDir } from '../../support/temp-dir.ts'

async function gateway(changes: Record<string, string> = {}) {
  const dir = await tempDir()
  const env = { BUSBAR_EDGE_GATEWAY_ID: 'gw-1', BUSBAR_EDGE_GATEWAY_DATA_DIR: dir, ...changes }
  const enroll = (cloud: { url: string }, args: readonly string[] = [], more: Record<string, string> = {}) =>
    busbar('edge', ['enroll', '--url', cloud.url, ...args], { env: { ...env, ...more } })
  return { dir, env, enroll, identity: () => JSON.parse(readFileSync(join(dir, 'identity', 'identity.json'), 'utf8')) }
}

describe('busbar-edge enroll', () => {
  it.each(['--token-file', '--token', 'the variable'])('takes the token by %s, and shows it nowhere', async (way) => {
    const cloud = await enrolmentCloud()
    const { dir, enroll, identity } = await gateway()
    const token = cloud.token()
    const file = join(await tempDir(), 'token')
    writeFileSync(file, `${token}\n`)
    const given: Record<string, [string[], Record<string, string>]> = {
      '--token-file': [['--token-file', file], {}],
      '--token': [['--token', token], {}],
      'the variable': [[], { BUSBAR_EDGE_ENROLMENT_TOKEN: token }],
    }
    const { code, stdout, stderr } = await enroll(cloud, ...(given[way] as [string[], Record<string, string>]))
    expect({ code, stderr: stderr.includes('warning') }).toEqual({ code: 0, stderr: false })
    expect(stdout).toMatch(/^gateway gw-1 is enrolled until \d{4}-.*Z; the certificate renews itself\n$/)
    expect(identity()).toMatchObject({ gatewayId: 'gw-1', ingestAddress: '127.0.0.1:7443' })
    const secret = token.split('.')[2] as string
    const kept = readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'))
    for (const text of [stdout, stderr, ...kept]) expect(text).not.toContain(secret)
  })

  it('takes the token from standard input', async () => {
    const cloud = await enrolmentCloud()
    const { env, identity } = await gateway()
    const args = [join(projectDir, 'edge', 'main.ts'), 'enroll', '--url', cloud.url, '--token-file', '-', '--json']
    const child = spawn(bunPath, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'ignore'] })
    let stdout = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
    })
    child.stdin.end(cloud.token())
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ gatewayId: 'gw-1', uplinkAddress: '127.0.0.1:7443' })
    expect(identity().gatewayId).toBe('gw-1')
  })

  it.each([
    [[], 64, 'there is no token'],
    [['--token', 'x', '--token-file', 'y'], 64, 'two ways of the same'],
    [['--token-file', '/nowhere'], 1, 'ENROLMENT_TOKEN_UNREADABLE'],
    [['--token', 'x', '--ca-file', '/nowhere'], 78, 'cannot read --ca-file'],
  ])('with %j exits %i', async (args, code, said) => {
    const { enroll } = await gateway()
    const result = await enroll({ url: 'https://127.0.0.1:1' }, args)
    expect({ code: result.code, stdout: result.stdout }).toEqual({ code, stdout: '' })
    expect(result.stderr).toContain(said)
    expect(result.stderr).toMatch(/^next: /m)
  })

  it('says what else is to be done: where the ingest is, and settings that keep the certificate from being used', async () => {
    const cloud = await enrolmentCloud()
    cloud.set.ingestAddress = null
    const { enroll } = await gateway()
    expect((await enroll(cloud, ['--token', cloud.token()])).stderr).toContain('set uplink.address')
    const other = await gateway({ BUSBAR_EDGE_UPLINK_ADDRESS: '127.0.0.1:1', BUSBAR_EDGE_UPLINK_INSECURE: 'true' })
    expect((await other.enroll(cloud, ['--token', cloud.token()])).stderr).toContain('uplink.insecure is true')
  })
})

describe('busbar-edge doctor', () => {
  async function findings(env: Record<string, string>) {
    const { stdout } = await busbar('edge', ['doctor', '--json'], { env })
    const all = (JSON.parse(stdout) as { findings: { check: string; outcome: string; detail: string }[] }).findings
    return Object.fromEntries(all.map(({ check, outcome, detail }) => [check, { outcome, detail }]))
  }
  const quiet = { BUSBAR_EDGE_MQTT_TCP_PORT: '0', BUSBAR_EDGE_HEALTH_PORT: '0' }

  it('tells a gateway that is not enrolled from one that is, whose key is its own, and whose cloud answers', async () => {
    const cloud = await enrolmentCloud()
    const ingest = await certifyingIngest(cloud.authority)
    cloud.set.ingestAddress = `127.0.0.1:${ingest.port}`
    const { env, enroll, dir, identity } = await gateway()
    expect(await findings({ ...env, ...quiet })).toMatchObject({
      identity: { outcome: 'fail', detail: expect.stringContaining('not enrolled') },
      uplink: { outcome: 'fail', detail: expect.stringContaining('nothing to dial with') },
    })
    await enroll(cloud, ['--token', cloud.token()])
    expect(await findings({ ...env, ...quiet })).toMatchObject({
      identity: { outcome: 'ok' },
      'identity-key': { outcome: 'ok', detail: 'CN=gw-1, with its key' },
      uplink: { outcome: 'ok', detail: expect.stringContaining('over TLS') },
    })
    // Another key beside the certificate, as after a careless restore.
    const { key } = await cloud.authority.gateway('gw-1')
    const broken = JSON.stringify({ ...identity(), privateKey: key })
    writeFileSync(join(dir, 'identity', 'identity.json'), broken, { mode: 0o600 })
    expect(await findings({ ...env, ...quiet })).toMatchObject({
      'identity-key': { outcome: 'fail', detail: expect.stringContaining('another key') },
    })
  })
})
