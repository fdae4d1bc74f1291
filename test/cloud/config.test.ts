import { describe, expect, it } from 'vitest'
import { loadCloudConfig, showCloudConfig } from '../../cloud/config.ts'
import type { ConfigError } from '../../shared/config/problems.ts'

function problems(env: Record<string, string>): string[] {
  try {
    loadCloudConfig(undefined, env)
  } catch (error) {
    return (error as ConfigError).problems.map(({ key, message }) => `${key} ${message}`)
  }
  return []
}

describe('the config of the cloud', () => {
  it('needs nothing, and then listens on loopback with the embedded bus and SQLite', () => {
    const config = loadCloudConfig(undefined, {})
    expect(config.ingest).toMatchObject({ host: '127.0.0.1', port: 7443 })
    expect(config.api).toMatchObject({ host: '127.0.0.1', port: 8080 })
    expect(config.kafka.brokers).toEqual([])
    expect(config.database.url).toBe('sqlite:./data/busbar.db')
    expect(config.registry.deviceTypePrefixes).toEqual({ INV: 'SOLAR_INVERTER', MTR: 'METER', METER: 'METER' })
  })

  it('takes gateways without TLS on loopback only', () => {
    expect(problems({ BUSBAR_CLOUD_INGEST_TLS_ENABLED: 'true' })).toEqual([expect.stringMatching(/take it out/)])
    const insecure = { BUSBAR_CLOUD_INGEST_INSECURE: 'true' }
    expect(problems(insecure)).toEqual([])
    expect(problems({ BUSBAR_CLOUD_INGEST_HOST: '0.0.0.0' })).toEqual([])
    expect(problems({ ...insecure, BUSBAR_CLOUD_INGEST_HOST: '0.0.0.0' })).toEqual([
      expect.stringMatching(/^ingest\.insecure may be true only while ingest\.host is a loopback address/),
    ])
  })

  it('takes the API beyond loopback only with TLS or behind a proxy that is named, and never without logins', () => {
    const host = { BUSBAR_CLOUD_API_HOST: '192.168.1.10' }
    expect(problems(host)).toEqual([expect.stringMatching(/^api\.host must be a loopback address unless/)])
    expect(problems({ ...host, BUSBAR_CLOUD_API_TLS_ENABLED: 'true' })).toEqual([])
    expect(problems({ ...host, BUSBAR_CLOUD_API_TRUSTED_PROXIES: '10.0.0.1' })).toEqual([])
    expect(problems({ ...host, BUSBAR_CLOUD_API_TLS_ENABLED: 'true', BUSBAR_CLOUD_API_INSECURE: 'true' })).toEqual([
      expect.stringMatching(/^api\.insecure may be true only while api\.host is a loopback address/),
    ])
    expect(problems({ BUSBAR_CLOUD_API_HOST: '::1' })).toEqual([])
  })

  it('sends a password only where it cannot be read on the way, and says TLS of the database in one place', () => {
    const plain = {
      BUSBAR_CLOUD_KAFKA_BROKERS: 'kafka-1:9092',
      BUSBAR_CLOUD_KAFKA_SASL_MECHANISM: 'plain',
      BUSBAR_CLOUD_KAFKA_SASL_USERNAME: 'busbar',
    }
    expect(problems(plain)).toEqual([expect.stringMatching(/^kafka\.sasl\.mechanism may be "plain" only with/)])
    expect(problems({ ...plain, BUSBAR_CLOUD_KAFKA_TLS_ENABLED: 'true' })).toEqual([])
    expect(problems({ ...plain, BUSBAR_CLOUD_KAFKA_BROKERS: '127.0.0.1:9092' })).toEqual([])
    const tls = { BUSBAR_CLOUD_DATABASE_TLS_ENABLED: 'true' }
    expect(problems(tls)).toEqual(['database.tls.enabled is for PostgreSQL only'])
    expect(problems({ ...tls, BUSBAR_CLOUD_DATABASE_URL: 'postgres://db/busbar' })).toEqual([])
    expect(problems({ ...tls, BUSBAR_CLOUD_DATABASE_URL: 'postgres://db/busbar?sslmode=no-verify' })).toEqual([
      expect.stringMatching(/^database\.url has sslmode=no-verify while database\.tls\.enabled is true/),
    ])
  })

  it('takes topics in Avro on Kafka with a schema registry, and says what is missing', () => {
    const topics = (encoding: Record<string, string>) => ({
      BUSBAR_CLOUD_KAFKA_ENCODING: Object.entries(encoding)
        .map((entry) => entry.join('='))
        .join(','),
    })
    const kafka = { BUSBAR_CLOUD_KAFKA_BROKERS: 'kafka-1:9092' }
    const registry = { ...kafka, BUSBAR_CLOUD_KAFKA_SCHEMA_REGISTRY_URL: 'http://registry:8081' }
    const avro = topics({ 'device-telemetry': 'avro', 'task.requested': 'json' })
    expect(problems({ ...registry, ...avro })).toEqual([])
    expect(problems({ ...kafka, ...avro })).toEqual([
      'kafka.schemaRegistry.url is required because kafka.encoding is "avro" for device-telemetry',
    ])
    expect(problems({ ...registry, BUSBAR_CLOUD_KAFKA_BROKERS: '', ...avro })).toEqual([
      expect.stringMatching(/^kafka\.encoding is "avro" for device-telemetry, which needs kafka\.brokers/),
    ])
    expect(problems({ ...registry, ...topics({ 'device-telemetri': 'json', notifications: 'xml' }) })).toEqual([
      expect.stringMatching(
        /^kafka\.encoding names "device-telemetri", which is no topic with an Avro schema; those are/,
      ),
      'kafka.encoding of "notifications" is "xml", must be "json" or "avro"',
    ])
    const login = { ...registry, BUSBAR_CLOUD_KAFKA_SCHEMA_REGISTRY_TOKEN: 'hunter2' }
    const [readable = ''] = problems(login)
    expect(readable).toMatch(/^kafka\.schemaRegistry\.url must begin with https:\/\//)
    expect(readable).not.toContain('hunter2')
    expect(problems({ ...login, BUSBAR_CLOUD_KAFKA_SCHEMA_REGISTRY_URL: 'https://registry' })).toEqual([])
  })

  it('refuses values that contradict one another, all at once', () => {
    const found = problems({
      BUSBAR_CLOUD_API_PORT: '7443',
      BUSBAR_CLOUD_KAFKA_MIN_INSYNC_REPLICAS: '2',
      BUSBAR_CLOUD_KAFKA_TLS_KEY_FILE: '/key.pem',
      BUSBAR_CLOUD_KAFKA_SASL_MECHANISM: 'plain',
    })
    const keys = ['api.port', 'kafka.minInsyncReplicas', 'kafka.sasl.username', 'kafka.tls.certFile']
    expect(found.map((problem) => problem.split(' ')[0]).sort()).toEqual(keys)
  })

  it('takes a webhook with a URL and a secret that can sign, and prints no secret', () => {
    const url = { BUSBAR_CLOUD_NOTIFICATIONS_WEBHOOK_URL: 'https://push.example/hooks/1' }
    const withSecret = (secret: string) => problems({ ...url, BUSBAR_CLOUD_NOTIFICATIONS_WEBHOOK_SECRET: secret })
    expect(problems(url)).toEqual([expect.stringMatching(/^notifications\.webhook\.secret is required/)])
    expect(withSecret('sixteen letters.')).toEqual([])
    expect(withSecret('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')).toEqual([])
    for (const secret of ['fifteen letters', 'whsec_no-base64-at-all-though-long']) {
      expect(withSecret(secret)).toEqual([expect.stringContaining('notifications.webhook.secret is (hidden), must be')])
    }
    expect(problems({ BUSBAR_CLOUD_NOTIFICATIONS_WEBHOOK_URL: 'https:///nowhere' })).toHaveLength(1)
  })

  it('takes keys of the activity log that are keys, and prints none', () => {
    const key = Buffer.alloc(32, 7).toString('base64')
    const withKeys = (keys: string) => problems({ BUSBAR_CLOUD_ACTIVITY_KEYS: keys })
    expect(withKeys(`${key}\n${key}`)).toEqual([])
    expect(withKeys(`${key} c2hvcnQ=`)).toEqual(['activity.keys has something else than a key as key 2'])
    expect(showCloudConfig(undefined, { BUSBAR_CLOUD_ACTIVITY_KEYS: key })).not.toContain(key)
  })

  it('never prints the URL of the database or the password of Kafka', () => {
    const found = problems({ BUSBAR_CLOUD_DATABASE_URL: 'mysql://root:hunter2@db/x' })
    expect(found).toEqual([expect.stringContaining('database.url is (hidden), must be "sqlite:<path>", "memory:" or')])
    for (const password of ['hun/ter2', 'hun#ter2', 'hun?ter2', 'h:u/n@ter2']) {
      expect(problems({ BUSBAR_CLOUD_DATABASE_URL: `postgres://busbar:${password}@db/x` })).toEqual([
        expect.stringMatching(/^database\.url is not a well-formed URL; in a password, \/ is %2F/),
      ])
    }
    const shown = (url: string) => showCloudConfig(undefined, { BUSBAR_CLOUD_DATABASE_URL: url })
    // This one reads as a port and a path.
    expect(shown('postgres://busbar:1234/hunter2@db/x')).not.toContain('hunter2')
    expect(shown('postgres://db:5432/x')).toContain('url = "postgres://db:5432/x"')
  })
})
