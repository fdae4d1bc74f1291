import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { dataPaths, loadEdgeConfig } from '../../edge/config.ts'
import type { ConfigError } from '../../shared/config/problems.ts'
import { tempDir } from '../support/temp-dir.ts'

const id = { BUSBAR_EDGE_GATEWAY_ID: 'gateway-1' }

function problems(env: Record<string, string>): string[] {
  try {
    loadEdgeConfig(undefined, env)
  } catch (error) {
    return (error as ConfigError).problems.map(({ key, message }) => `${key} ${message}`)
  }
  return []
}

describe('the config of the edge', () => {
  it('needs nothing but the name of the gateway', () => {
    expect(problems({})).toEqual([expect.stringMatching(/^gateway\.id is required.*BUSBAR_EDGE_GATEWAY_ID/)])
    const config = loadEdgeConfig(undefined, id)
    expect(config.mqtt.tcp).toEqual({ enabled: true, host: '127.0.0.1', port: 1883 })
    expect(config.mqtt.insecure).toBe(false)
    expect(config.uplink).toMatchObject({ order: 'live-first', backfillShare: 0.3 })
    expect(config.health).toEqual({ enabled: true, host: '127.0.0.1', port: 9464 })
  })

  it('says what to do instead of a key of an earlier version, in the file or the environment', async () => {
    const advice = expect.stringMatching(/^BUSBAR_EDGE_UPLINK_TLS_ENABLED .*take it out.*busbar-edge enroll/)
    expect(problems({ ...id, BUSBAR_EDGE_UPLINK_TLS_ENABLED: 'true' })).toEqual([advice])
    const file = join(await tempDir(), 'edge.toml')
    writeFileSync(file, '[gateway]\nid = "gateway-1"\n[uplink.tls]\nenabled = true\n')
    expect(() => loadEdgeConfig(file, {})).toThrow(/line 4: uplink\.tls\.enabled .*take it out.*busbar-edge enroll/)
  })

  it('keeps everything below the data directory', () => {
    const config = loadEdgeConfig(undefined, { ...id, BUSBAR_EDGE_GATEWAY_DATA_DIR: '/var/lib/busbar' })
    expect(Object.values(dataPaths(config)).every((path) => path.startsWith('/var/lib/busbar/'))).toBe(true)
  })

  it('refuses values that contradict one another, all at once', () => {
    const found = problems({
      ...id,
      BUSBAR_EDGE_MQTT_TLS_ENABLED: 'true',
      BUSBAR_EDGE_MQTT_TLS_PORT: '1883',
      BUSBAR_EDGE_SPOOL_BYTES_MAX: String(16 * 2 ** 20),
      BUSBAR_EDGE_SPOOL_BLOCK_BYTES_MAX: String(2 ** 20),
      BUSBAR_EDGE_UPLINK_BACKOFF_BASE_MS: '5000',
      BUSBAR_EDGE_UPLINK_BACKOFF_MAX_MS: '1000',
      BUSBAR_EDGE_UPLINK_TLS_CERT_FILE: '/cert.pem',
    })
    expect(found.map((problem) => problem.split(' ')[0])).toEqual([
      'uplink.backoffBaseMs',
      'uplink.tls.keyFile',
      'uplink.address',
      'mqtt',
    ])
  })

  it('refuses to run without a listener', () => {
    expect(problems({ ...id, BUSBAR_EDGE_MQTT_TCP_ENABLED: 'false' })).toEqual([
      expect.stringMatching(/^mqtt\.tcp\.enabled must be true unless/),
    ])
  })

  it.each(['', 'a b', 'x'.repeat(65), 'sites/1'])('refuses %j as the name of a gateway', (name) => {
    expect(problems({ BUSBAR_EDGE_GATEWAY_ID: name })).toEqual([expect.stringMatching(/^gateway\.id is /)])
  })
})
