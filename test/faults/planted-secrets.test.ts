/** Recognisable secrets in every place that takes one, and every way in which a program says something: none comes out. */

import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'mqtt'
import { afterAll, expect, it } from 'vitest'
import { openDatabase } from '../../cloud/database/database.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { newAuthority } from '../support/certificates.ts'
import { bunPath, projectDir, startChild } from '../support/child.ts'
import { type CloudProcess, startCloud } from '../support/cloud-process.ts'
import { type EdgeProcess, startEdge } from '../support/edge-process.ts'
import { freePort } from '../support/free-port.ts'
import { sendJson } from '../support/json-request.ts'
import { LeakWatch } from '../support/planted-secrets.ts'
import { startPostgres } from '../support/postgres.ts'
import { outboxActivities } from '../support/recorded.ts'
import { toToml } from '../support/toml.ts'
import { until } from '../support/until.ts'

const PLANTED = {
  kafkaPassword: 'planted/kafka-password=1',
  databasePassword: 'planted-database-password-2',
  webhookSecret: 'planted/webhook+secret=3',
  clientSecret: 'planted client secret 4',
  registryPassword: 'planted/registry+password:5',
  loginPassword: 'planted-login-password-5',
  refreshToken: 'planted-refresh-token-6',
  accessToken: 'planted-access-token-7',
  apiKey: 'bbk_planted_api-key-8',
  enrolmentToken: 'bbe.planted.enrolment-token-9.AAAA',
  devicePassword: 'planted-device-password-10',
  setupToken: 'planted-setup-token-11',
}
const dir = mkdtempSync(join(tmpdir(), 'busbar-planted-'))
const authority = newAuthority(dir)
const key = join(dir, 'client.key')
const cert = join(dir, 'client.pem')
const watch = new LeakWatch(PLANTED)
const postgres = await startPostgres()

afterAll(async () => {
  await postgres?.stop()
  rmSync(dir, { recursive: true, force: true })
})

const issued = authority.issue('client')
writeFileSync(cert, issued.cert)
writeFileSync(key, issued.key, { mode: 0o600 })
watch.plant('privateKey', issued.key.split('\n')[1] as string)

/** Every secret of the core, as the environment gives them. */
async function coreSecrets(): Promise<Record<string, string>> {
  return {
    BUSBAR_CLOUD_KAFKA_BROKERS: `localhost:${await freePort()}`,
    BUSBAR_CLOUD_KAFKA_TLS_ENABLED: 'true',
    BUSBAR_CLOUD_KAFKA_TLS_CERT_FILE: cert,
    BUSBAR_CLOUD_KAFKA_TLS_KEY_FILE: key,
    BUSBAR_CLOUD_KAFKA_SASL_MECHANISM: 'plain',
    BUSBAR_CLOUD_KAFKA_SASL_USERNAME: 'busbar',
    BUSBAR_CLOUD_KAFKA_SASL_PASSWORD: PLANTED.kafkaPassword,
    BUSBAR_CLOUD_KAFKA_ENCODING: 'device-telemetry=avro',
    BUSBAR_CLOUD_KAFKA_SCHEMA_REGISTRY_URL: `https://127.0.0.1:${await freePort()}`,
    BUSBAR_CLOUD_KAFKA_SCHEMA_REGISTRY_USERNAME: 'busbar',
    BUSBAR_CLOUD_KAFKA_SCHEMA_REGISTRY_PASSWORD: PLANTED.registryPassword,
    BUSBAR_CLOUD_NOTIFICATIONS_WEBHOOK_URL: `http://127.0.0.1:${await freePort()}/push`,
    BUSBAR_CLOUD_NOTIFICATIONS_WEBHOOK_SECRET: PLANTED.webhookSecret,
    BUSBAR_CLOUD_IDENTITY_OIDC_ISSUER: `https://127.0.0.1:${await freePort()}`,
    BUSBAR_CLOUD_IDENTITY_OIDC_CLIENT_ID: 'busbar',
    BUSBAR_CLOUD_IDENTITY_OIDC_CLIENT_SECRET: PLANTED.clientSecret,
    BUSBAR_CLOUD_IDENTITY_MASTER_KEY_FILE: join(dir, 'unused-master.key'),
    BUSBAR_CLOUD_LOG_LEVEL: 'trace',
  }
}

const databaseUrl = (port: number) => `postgres://busbar:${PLANTED.databasePassword}@127.0.0.1:${port}/busbar`

it('not from commands, with a good config or a bad one, nor from a database that is away or refuses', async () => {
  const secrets = await coreSecrets()
  const nowhere = {
    BUSBAR_CLOUD_DATABASE_URL: databaseUrl(await freePort()),
    BUSBAR_CLOUD_DATABASE_START_TIMEOUT_MS: '300',
  }
  const env = { ...secrets, ...nowhere }
  const config = join(dir, 'bad.toml')
  const bad = toToml({
    kafka: { sasl: { password: [PLANTED.kafkaPassword], pasword: PLANTED.kafkaPassword } },
    database: { url: `mysql://root:${PLANTED.databasePassword}@db/x` },
    notifications: { webhook: { secret: { value: PLANTED.webhookSecret } } },
  })
  writeFileSync(config, bad, { mode: 0o600 })
  const exposed = join(dir, 'exposed.toml')
  writeFileSync(exposed, toToml({ kafka: { sasl: { password: PLANTED.kafkaPassword } } }))
  chmodSync(exposed, 0o644)
  const broken = join(dir, 'broken.toml')
  writeFileSync(broken, `[kafka.sasl]\npassword = "${PLANTED.kafkaPassword}\n`, { mode: 0o600 })
  const twice = join(dir, 'twice.toml')
  const line = `password = "${PLANTED.kafkaPassword}"\n`
  writeFileSync(twice, `[kafka.sasl]\n${line}${line}`, { mode: 0o600 })

  const runs: [number, string[], Record<string, string>][] = [
    [0, ['config', 'show'], env],
    [0, ['config', 'example'], env],
    [0, ['serve', '--help'], env],
    ...[config, exposed, broken, twice].map((file): [number, string[], Record<string, string>] => [
      78,
      ['config', 'check', '--config', file],
      {},
    ]),
    [1, ['migrate'], env],
    [1, ['serve'], env],
  ]
  if (postgres !== null) {
    const { port } = new URL(await postgres.freshUrl())
    runs.push([1, ['serve'], { ...secrets, BUSBAR_CLOUD_DATABASE_URL: databaseUrl(Number(port)) }])
  }
  // Two at a time: there are two cores.
  for (let i = 0; i < runs.length; i += 2) {
    const pair = runs.slice(i, i + 2)
    const codes = await Promise.all(pair.map(([, args, extra]) => watch.run('cloud', args, extra)))
    expect(codes, JSON.stringify(pair.map(([, args]) => args))).toEqual(pair.map(([code]) => code))
  }
  expect(watch.leaks()).toEqual([])
})

it('not from a core and an edge that run, whatever they are sent and whoever does not answer them', async () => {
  const {
    BUSBAR_CLOUD_IDENTITY_MASTER_KEY_FILE: _,
    BUSBAR_CLOUD_IDENTITY_OIDC_ISSUER: __,
    ...secrets
  } = await coreSecrets()
  const url = postgres === null ? undefined : await postgres.freshUrl()
  // The password of the database that answers is looked for like the others.
  if (url !== undefined) watch.plant('password of PostgreSQL', `:${new URL(url).password}@`)
  const cloud: CloudProcess = await startCloud({
    dir: join(dir),
    env: secrets,
    // Logins are what takes most secrets.
    config: { api: { insecure: false } },
    ...(url === undefined ? {} : { databaseUrl: url }),
  })
  const edge: EdgeProcess = await startEdge({
    uplinkPort: await freePort(),
    env: { BUSBAR_EDGE_ENROLMENT_TOKEN: PLANTED.enrolmentToken },
    config: {
      uplink: {
        insecure: false,
        tls: { serverName: 'ingest.busbar.internal', caFile: cert, certFile: cert, keyFile: key },
      },
      log: { level: 'trace' },
    },
  })
  try {
    const masterKey = join(cloud.dir, 'master.key')
    if (existsSync(masterKey)) watch.plant('master key', readFileSync(masterKey, 'utf8').split('\n')[0] as string)
    const administrator = await administer(cloud, secrets)
    await askEverything(cloud)
    await seeActivities(url ?? `sqlite:${join(cloud.dir, 'busbar.db')}`)
    await knock(edge)
    await watch.run('edge', ['config', 'show', '--config', edge.configPath])
    await watch.run('edge', ['status', '--config', edge.configPath])
    await until(() => /breaker open|waiting for the bus/.test(cloud.logs()), { what: 'Kafka is found to be away' })
    for (const path of ['/health/ready', '/metrics', '/openapi.json', '/api/v1/users', '/api/v1/api-keys']) {
      const { status } = await watch.ask(`${cloud.apiUrl}${path}`, { headers: administrator })
      expect(status, path).toBe(path === '/health/ready' ? 503 : 200)
    }
    for (const path of ['/health/ready', '/metrics', '/status']) await watch.ask(`${edge.healthUrl}${path}`)
    for (const pid of [cloud.pid, edge.pid]) watch.seeArguments(pid)
  } finally {
    await Promise.all([cloud.stop(), edge.stop()])
    watch.see('the logs of the core', cloud.logs())
    watch.see('the logs of the edge', edge.logs())
    rmSync(edge.dir, { recursive: true, force: true })
  }
  expect(watch.leaks()).toEqual([])
  expect(watch.seenBytes).toBeGreaterThan(100_000)
})

/** @returns headers of the first administrator, who has been given what is looked for like the others from then on. */
async function administer(cloud: CloudProcess, env: Record<string, string>): Promise<Record<string, string>> {
  const post = async (path: string, body: object, headers = {}) => {
    const { status, body: answer } = await sendJson(`${cloud.apiUrl}/api/v1${path}`, 'POST', body, headers)
    expect(status, path).toBeLessThan(300)
    return answer
  }
  // The core prints it once it has the bus.
  const args = ['setup-link', '--config', cloud.configPath]
  const child = startChild({ command: [bunPath, `${projectDir}/cloud/main.ts`, ...args], env })
  await child.exited
  const token = /#(\S+)/.exec(child.output())?.[1]
  const password = PLANTED.loginPassword
  await post('/auth/setup', { token, userId: 'root', password })
  const { accessToken, refreshToken } = await post('/auth/login', { userId: 'root', password })
  const headers = { authorization: `Bearer ${accessToken}` }
  await post('/users', { id: 'ann', grants: [] }, headers)
  const { token: link } = await post('/users/ann/password-link', {}, headers)
  const { key } = await post(
    '/api-keys',
    { name: 'program', scopes: ['users:read'], grants: [{ role: 'auditor', siteId: 'all' }] },
    headers,
  )
  const given = { accessToken, refreshToken, link, key }
  for (const [name, secret] of Object.entries(given)) watch.plant(`given ${name}`, secret)
  await watch.ask(`${cloud.apiUrl}/api/v1/users`, { headers: { authorization: `Bearer ${key}` } })
  return headers
}

/** Requests that carry a secret to where one belongs, to where it does not, and in a form that is refused. */
async function askEverything({ apiUrl }: CloudProcess): Promise<void> {
  const { loginPassword, refreshToken, accessToken, apiKey, enrolmentToken, setupToken } = PLANTED
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    watch.ask(`${apiUrl}/api/v1${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', origin: apiUrl, ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  await post('/auth/login', { userId: 'ann', password: loginPassword })
  await post('/auth/login', { userId: 5, password: loginPassword, more: loginPassword })
  await post('/auth/login', { userId: 'ann', password: [loginPassword] })
  await post('/auth/login', { userId: 'ann', password: loginPassword.repeat(100) })
  await post('/auth/login', `{"userId": "ann", "password": "${loginPassword}`)
  await post('/auth/login', { userId: loginPassword, password: 'x' })
  await post('/auth/refresh', { refreshToken })
  await post('/auth/refresh', {}, { cookie: `busbar_refresh=${refreshToken}; busbar_access=${accessToken}` })
  await post('/auth/setup', { token: setupToken, userId: 'ann', password: loginPassword })
  await post('/auth/password', { token: setupToken, password: [loginPassword] })
  await post('/users', { userId: 'ann', password: loginPassword })
  await post('/enrolment', { token: enrolmentToken, csrPem: issued.key })
  await post('/enrolment/renewals', { certificatePem: issued.key, csrPem: '', challenge: '', signature: accessToken })
  for (const token of [accessToken, apiKey, `eyJhbGciOiJub25lIn0.${accessToken}.`]) {
    const authorization = `Bearer ${token}`
    await watch.ask(`${apiUrl}/api/v1/devices?limit=x`, { headers: { authorization } })
    await watch.ask(`${apiUrl}/api/v1/ws`, { headers: { authorization } })
    await watch.ask(`${apiUrl}/api/v1/devices`, {
      headers: { authorization: `Basic ${token}`, cookie: `busbar_access=${token}` },
    })
  }
}

/** What is recorded of all that waits for Kafka, in words that anybody who reads it sees. */
async function seeActivities(url: string): Promise<void> {
  const database = openDatabase({ url, clock: systemClock, log: silentLogger })
  await database.start()
  try {
    const entries = await outboxActivities(database)
    expect(new Set(entries.map(({ activityType }) => activityType))).toContain('create_api_key')
    watch.see('the activity log', entries.map((entry) => JSON.stringify(entry)).join('\n'))
  } finally {
    await database.stop()
  }
}

/** A device with a password that is wrong, and one that is not even asked for it. */
async function knock(edge: EdgeProcess): Promise<void> {
  for (const username of ['INV-001', 'nobody']) {
    const login = { username, password: PLANTED.devicePassword }
    const device = connect({
      port: edge.mqttPort,
      host: '127.0.0.1',
      clientId: 'INV-001',
      reconnectPeriod: 0,
      ...login,
    })
    await new Promise((resolve) => device.once('error', resolve).once('close', () => resolve(null)))
    device.end(true)
  }
}
