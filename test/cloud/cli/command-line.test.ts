import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { busbar } from '../../support/command.ts'
import { tempDir } from '../../support/temp-dir.ts'

describe('busbar-cloud', () => {
  it('prints its version', async () => {
    expect(await busbar('cloud', ['--version'])).toEqual({ code: 0, stdout: 'busbar-cloud 0.1.0\n', stderr: '' })
  })

  it('exits 64 on wrong usage and 78 on a wrong config, having told all of it', async () => {
    expect((await busbar('cloud', ['topics', 'chek'])).code).toBe(64)
    const file = join(await tempDir(), 'cloud.toml')
    writeFileSync(file, '[kafka]\nbrokers = "kafka:9092"\nreplicationFactor = 0\n[api]\nhost = "0.0.0.0"\n')
    const { code, stderr } = await busbar('cloud', ['serve', '--config', file])
    expect(code).toBe(78)
    expect(stderr).toContain('line 2: kafka.brokers is "kafka:9092", must be a list of host:port strings')
    expect(stderr).toContain('line 3: kafka.replicationFactor is 0, must be an integer from 1 to 9 (replicas)')
    expect(stderr).toContain('line 5: api.host must be a loopback address')
  })

  it('prints an example that config check accepts', async () => {
    const file = join(await tempDir(), 'cloud.toml')
    writeFileSync(file, (await busbar('cloud', ['config', 'example'])).stdout)
    const { code, stdout } = await busbar('cloud', ['config', 'check', '--config', file])
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'the config is valid\n' })
  })

  it('checks and creates the topics of the embedded bus', async () => {
    const env = { BUSBAR_CLOUD_BUS_DIR: join(await tempDir(), 'bus') }
    const before = await busbar('cloud', ['topics', 'check'], { env })
    expect(before.code).toBe(1)
    expect(before.stdout).toContain('device-telemetry\tmissing\t')
    expect(before.stderr).toContain('topics create')

    const created = await busbar('cloud', ['topics', 'create'], { env })
    expect(created.code).toBe(0)
    expect(created.stdout.split('\n')).toContain('device-telemetry-dlt')
    expect(await busbar('cloud', ['topics', 'create'], { env })).toMatchObject({ code: 0, stdout: '' })

    const after = await busbar('cloud', ['topics', 'check', '--json'], { env })
    expect(after.code).toBe(0)
    expect(JSON.parse(after.stdout)).toEqual({ bus: 'embedded', drift: [] })
  })

  it('says what to do when no Kafka answers', async () => {
    const env = { BUSBAR_CLOUD_KAFKA_BROKERS: '127.0.0.1:1', BUSBAR_CLOUD_KAFKA_CONNECT_TIMEOUT_MS: '500' }
    const { code, stdout, stderr } = await busbar('cloud', ['topics', 'check'], { env })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^error KAFKA_/m)
    expect(stderr).toMatch(/^next: /m)
  })

  it('migrates, and says what to do when there is no database', async () => {
    const file = join(await tempDir(), 'busbar.db')
    const sqlite = { BUSBAR_CLOUD_DATABASE_URL: `sqlite:${file}` }
    expect(await busbar('cloud', ['migrate'], { env: sqlite })).toMatchObject({
      code: 0,
      stdout: 'the sqlite database has the schema of this program\n',
    })
    expect(existsSync(file)).toBe(true)

    const absent = {
      BUSBAR_CLOUD_DATABASE_URL: 'postgres://busbar:hunter2@127.0.0.1:1/busbar',
      BUSBAR_CLOUD_DATABASE_START_TIMEOUT_MS: '0',
    }
    const { code, stderr } = await busbar('cloud', ['migrate'], { env: absent })
    expect(code).toBe(1)
    expect(stderr).toContain('DATABASE_UNAVAILABLE')
    expect(stderr).not.toContain('hunter2')
  })
})
