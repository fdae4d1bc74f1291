/**
 * From an empty machine to a site that nobody else gets into, with the compiled programs: the first administrator by the printed
 * link, a gateway by its token, devices by their certificates, a dangerous command by two people. Then strangers come: testssl.sh
 * at every port that speaks TLS, Schemathesis at every route.
 */

import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Binaries, buildBinaries, withoutNodeModules } from '../support/binaries.ts'
import { type CloudProcess, startCloud } from '../support/cloud-process.ts'
import { busbar } from '../support/command.ts'
import { type EdgeProcess, startEdge } from '../support/edge-process.ts'
import { freePort } from '../support/free-port.ts'
import type { AnyJson } from '../support/json-request.ts'
import { pythonEnvironment } from '../support/python-environment.ts'
import { describeWith } from '../support/real-parts.ts'
import { until } from '../support/until.ts'

const run = promisify(execFile)

const PASSWORD = 'correct horse battery'
const GATEWAY = 'sub-12'
/** What testssl.sh may say of a port; what is worse than these would have to be a line of SECURITY.md. */
const HARMLESS = ['OK', 'INFO', 'LOW', 'DEBUG']
/** What it cannot look at: a port that wants a certificate first, and ciphers that its own OpenSSL lacks. */
const NOT_TESTED = /^(client x509-based authentication prevents|No engine or GOST support)/

describeWith(['mosquitto_pub', 'testssl', 'python3'], 'a site that nobody else gets into', (programs) => {
  const dir = mkdtempSync(join(tmpdir(), 'busbar-security-'))
  const authority = join(dir, 'authority.pem')
  let binaries: Binaries
  let cloud: CloudProcess
  let edge: EdgeProcess
  let mqttPort: number

  /** The command line of somebody of this name: each has a login of their own. */
  const as = async (who: string, args: readonly string[], input = ''): Promise<string> => {
    const env = { XDG_CONFIG_HOME: join(dir, who), BUSBAR_CLOUD_URL: cloud.apiUrl, BUSBAR_CLOUD_CA_FILE: authority }
    const result = await busbar('cloud', args, { binary: binaries.cloud, env, input })
    if (result.code !== 0) throw new Error(`${args.join(' ')}: ${result.stderr}`)
    return result.stdout
  }
  const onSite = async (args: readonly string[], input = ''): Promise<string> => {
    const env = { BUSBAR_EDGE_GATEWAY_ID: GATEWAY, BUSBAR_EDGE_GATEWAY_DATA_DIR: join(dir, 'site', 'data') }
    const result = await busbar('edge', args, { binary: binaries.edge, env, input })
    if (result.code !== 0) throw new Error(`${args.join(' ')}: ${result.stderr}`)
    return result.stdout
  }
  const request = async (path: string, method = 'GET', body?: object): Promise<{ status: number; body: AnyJson }> => {
    const response = await fetch(`${cloud.apiUrl}${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      tls: { ca: readFileSync(authority, 'utf8') },
    })
    return { status: response.status, body: await response.json() }
  }
  /** What mosquitto_pub complains of; nothing when the broker has acknowledged. */
  const publish = async (topic: string, device: string): Promise<string> => {
    const files = ['--cafile', 'ca.pem', '--cert', `${device}.pem`, '--key', `${device}.key`]
    const message = ['-h', 'localhost', '-p', String(mqttPort), '-q', '1', '-t', topic, '-m', '{"powerKw": 45.2}']
    const answer = run(programs.mosquitto_pub, [...files, ...message], { cwd: dir, timeout: 10_000 })
    return (await answer.catch((error: AnyJson) => error)).stderr
  }
  const devicesOf = async (who: string): Promise<string[]> => {
    const key = (await as('ann', keyFor(who), '')).trim()
    const response = await fetch(`${cloud.apiUrl}/api/v1/devices`, {
      headers: { authorization: `Bearer ${key}` },
      tls: { ca: readFileSync(authority, 'utf8') },
    })
    const { items } = (await response.json()) as AnyJson
    return items.map((device: AnyJson) => device.serialNumber)
  }
  const keyFor = (grant: string) => ['api-key', 'create', `for ${grant}`, '--scope', 'devices:read', '--grant', grant]

  beforeAll(async () => {
    binaries = await buildBinaries()
    cloud = await startCloud({
      binary: binaries.cloud,
      wrapper: withoutNodeModules,
      config: {
        api: { insecure: false, tls: { enabled: true } },
        ingest: { insecure: false },
        approvals: { commandTypes: ['REMOTE_DISCONNECT'] },
      },
    })
    // Nobody is trusted yet; the gateway holds it against the fingerprint in its token.
    const answer = await fetch(`${cloud.apiUrl}/api/v1/enrolment/authority`, { tls: { rejectUnauthorized: false } })
    writeFileSync(authority, ((await answer.json()) as AnyJson).certificatePem)
    await onSite(['ca', 'init'])
    mqttPort = await freePort()
    edge = await startEdge({
      binary: binaries.edge,
      wrapper: withoutNodeModules,
      dir: join(dir, 'site'),
      gatewayId: GATEWAY,
      uplinkPort: cloud.ingestPort,
      config: { uplink: { insecure: false }, mqtt: { tls: { enabled: true, host: '127.0.0.1', port: mqttPort } } },
    })
  })
  afterAll(async () => {
    await edge?.stop()
    await cloud?.stop()
    await binaries?.remove()
    for (const each of [dir, cloud?.dir]) if (each !== undefined) await rm(each, { recursive: true, force: true })
  })

  it('the printed link makes the first administrator, once, who lets others in', async () => {
    const token = await until(() => /\/setup#(\S+)/.exec(cloud.logs())?.[1], { what: 'the link is printed' })
    const first = { token, userId: 'ann', password: PASSWORD }
    expect((await request('/api/v1/auth/setup', 'POST', first)).status).toBe(201)
    expect((await request('/api/v1/auth/setup', 'POST', { ...first, userId: 'eve' })).status).toBe(401)
    expect((await request('/api/v1/devices')).status).toBe(401)
    await as('ann', ['login', '--user', 'ann', '--password-stdin'], `${PASSWORD}\n`)
    await as('ann', ['user', 'add', 'ben', 'operator@1'])
    const link = (await as('ann', ['user', 'password-link', 'ben'])).split('#')[1]?.split('&')[0]
    const chosen = { token: link, password: `${PASSWORD} of ben` }
    expect((await request('/api/v1/auth/password', 'POST', chosen)).status).toBe(200)
    await as('ben', ['login', '--user', 'ben', '--password-stdin'], `${PASSWORD} of ben\n`)
  })

  it('devices are let in by their certificates, and the site goes on while its gateway is not enrolled', async () => {
    for (const site of ['1', '2'])
      await onSite(['ca', 'issue', '--site', site, '--serial', `INV-00${site}`, '--out', dir])
    expect(await publish('sites/1/devices/INV-001/telemetry', 'INV-001')).toBe('')
    expect(await publish('sites/2/devices/INV-002/telemetry', 'INV-002')).toBe('')
    expect(await publish('sites/1/devices/INV-001/telemetry', 'INV-002')).not.toBe('')
  })

  it('a gateway enrols while it runs, and what it kept arrives where it may speak, and nowhere else', async () => {
    const token = await as('ann', ['gateway', 'token', GATEWAY, '--site', '1'])
    await onSite(['enroll', '--url', cloud.apiUrl, '--token-file', '-'], token)
    await until(async () => (await as('ann', ['dead-letters', 'list'])).includes('SITE_NOT_ALLOWED'), {
      what: 'the reading of the other site is told of',
    })
    await until(async () => (await devicesOf('viewer')).length === 1, { what: 'the device is known' })
    expect(await devicesOf('viewer@1')).toEqual(['INV-001'])
    expect(await devicesOf('viewer@2')).toEqual([])
    const again = onSite(['enroll', '--replace', '--url', cloud.apiUrl, '--token-file', '-'], token)
    await expect(again).rejects.toThrow('ENROLMENT_TOKEN_USED')
  })

  it('a dangerous command is given by two people', async () => {
    const approval = (await as('ben', ['command', 'send', 'REMOTE_DISCONNECT', '--device', 'INV-001'])).trim()
    expect(approval).toMatch(/^apr-/)
    expect(await as('ann', ['command', 'list'])).toBe('')
    await expect(as('ben', ['approval', 'approve', approval])).rejects.toThrow('APPROVAL_OWN')
    expect(await as('ann', ['approval', 'approve', approval])).toContain('APPROVED')
    expect(await as('ann', ['command', 'list'])).toContain('REMOTE_DISCONNECT')
  })

  it.concurrent('testssl.sh finds nothing at any port', { timeout: 180_000 }, async ({ expect }) => {
    const ports = { api: cloud.apiPort, ingest: cloud.ingestPort, mqtt: mqttPort }
    const findings = Object.entries(ports).map(async ([name, port]) => {
      const file = join(dir, `${name}.json`)
      const checks = ['--protocols', '--std', '--pfs', '--vulnerable']
      const quiet = ['--quiet', '--color', '0', '--warnings', 'batch', '--openssl-timeout', '10', '--ip', 'one']
      await run(programs.testssl, [...quiet, ...checks, '--jsonfile', file, `127.0.0.1:${port}`]).catch(() => undefined)
      const found: AnyJson[] = JSON.parse(readFileSync(file, 'utf8'))
      // Without these it has seen nothing.
      expect(
        found.find(({ id }) => id === 'TLS1_2'),
        name,
      ).toMatchObject({ severity: 'OK' })
      expect(found.length, name).toBeGreaterThan(30)
      return found
        .filter(({ severity, finding }) => !HARMLESS.includes(severity) && !NOT_TESTED.test(finding))
        .map((each) => ({ name, ...each }))
    })
    expect((await Promise.all(findings)).flat()).toEqual([])
  })

  it.concurrent('Schemathesis meets no server error, and no answer that the document does not foretell', {
    timeout: 300_000,
  }, async ({ expect }) => {
    const python = await pythonEnvironment(programs.python3)
    const scopes = ['*:read', '*:write'].flatMap((scope) => ['--scope', scope])
    const key = (await as('ann', ['api-key', 'create', 'fuzzer', ...scopes, '--grant', 'admin'])).trim()
    const settings = join(dir, 'schemathesis.toml')
    writeFileSync(settings, `[headers]\nAuthorization = "Bearer ${key}"\n`, { mode: 0o600 })
    const checks = [
      'not_a_server_error',
      'status_code_conformance',
      'content_type_conformance',
      'response_schema_conformance',
    ]
    const args = [
      '--phases',
      'examples,coverage,fuzzing',
      '--max-examples',
      '5',
      '--seed',
      '1',
      '--checks',
      checks.join(','),
    ]
    const document = `${cloud.apiUrl}/openapi.json`
    const command = ['--config-file', settings, 'run', document, ...args, '--tls-verify', authority, '--no-color']
    const tool = join(python, '..', 'schemathesis')
    const result = await run(tool, command, { cwd: dir, maxBuffer: 2 ** 26 }).catch((error: AnyJson) => error)
    expect(result.stdout.slice(-20_000)).toMatch(/No issues found|passed/)
  })
})
