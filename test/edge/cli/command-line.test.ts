import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { busbar } from '../../support/command.ts'
import { tempDir } from '../../support/temp-dir.ts'

describe('busbar-edge', () => {
  it('prints its version', async () => {
    expect(await busbar('edge', ['--version'])).toEqual({ code: 0, stdout: 'busbar-edge 0.1.0\n', stderr: '' })
  })

  it.each([
    [['run', '--confg', 'x'], 'Did you mean --config?'],
    [['runn'], 'Did you mean run?'],
    [[], 'Commands:'],
    [['device', 'add', '--site', 'north'], 'positive integer'],
    [['device', 'add', '--role', 'king'], 'Allowed choices are device, observer, operator'],
    [['device', 'add', '--site', '1'], 'needs --site and --serial'],
    [['device', 'add', '--role', 'observer'], 'needs --username'],
  ])('exits 64 on wrong usage: %j', async (args, said) => {
    const { code, stdout, stderr } = await busbar('edge', args)
    expect({ code, stdout }).toEqual({ code: 64, stdout: '' })
    expect(stderr).toContain(said)
  })

  it.each([['run'], ['config', 'check']])(
    'exits 78 on a wrong config, having told all of it: %s %s',
    async (...args) => {
      const dir = await tempDir()
      const file = join(dir, 'edge.toml')
      writeFileSync(file, '[spool]\nbytesMax = "lots"\n[uplink]\nadress = "cloud:7443"\n')
      const { code, stderr } = await busbar('edge', [...args, '--config', file])
      expect(code).toBe(78)
      expect(stderr).toContain('line 2: spool.bytesMax is "lots", must be an integer from 16777216')
      expect(stderr).toContain('line 4: uplink.adress is no known key; did you mean uplink.address?')
      expect(stderr).toContain('gateway.id is required: set it in the file or as BUSBAR_EDGE_GATEWAY_ID')
      expect(stderr).toMatch(/^next: /m)
    },
  )

  it('exits 78 when the config file is missing', async () => {
    const { code, stderr } = await busbar('edge', ['run', '--config', '/nowhere/edge.toml'])
    expect(code).toBe(78)
    expect(stderr).toContain('there is no config file /nowhere/edge.toml')
  })

  it('prints an example that config check accepts, also by the variable that names the file', async () => {
    const dir = await tempDir()
    const file = join(dir, 'edge.toml')
    writeFileSync(file, (await busbar('edge', ['config', 'example'])).stdout)
    const { code, stdout } = await busbar('edge', ['config', 'check'], { env: { BUSBAR_EDGE_CONFIG: file } })
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'the config of gateway gateway-1 is valid\n' })
  })

  it('adds, lists and removes logins without knowing the name of the gateway', async () => {
    const dir = await tempDir()
    const env = { BUSBAR_EDGE_GATEWAY_DATA_DIR: dir }
    const added = await busbar('edge', ['device', 'add', '--site', '1', '--serial', 'INV-001', '--json'], { env })
    expect(added.code).toBe(0)
    const { username, password } = JSON.parse(added.stdout)
    expect(username).toBe('INV-001')
    expect(Buffer.from(password, 'base64url').length).toBeGreaterThanOrEqual(16)

    await busbar('edge', ['device', 'add', '--role', 'observer', '--username', 'scada'], { env })
    const again = await busbar('edge', ['device', 'add', '--site', '1', '--serial', 'INV-001'], { env })
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('CREDENTIAL_EXISTS') })

    const listed = await busbar('edge', ['device', 'list'], { env })
    expect(listed.stdout).toMatch(/^INV-001\tdevice\t1\tINV-001\t.+\nscada\tobserver\t-\t-\t.+\n$/)
    const json = await busbar('edge', ['device', 'list', '--json'], { env })
    expect(JSON.parse(json.stdout)).toHaveLength(2)
    expect(json.stdout).not.toContain('secret')

    expect(await busbar('edge', ['device', 'remove', 'INV-001'], { env })).toMatchObject({ code: 0, stdout: '' })
    expect(await busbar('edge', ['device', 'remove', 'INV-001'], { env })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('device list'),
    })
  })
})

describe('busbar-edge status', () => {
  it('says what to do when no edge runs', async () => {
    const { code, stdout, stderr } = await busbar('edge', ['status'], { env: { BUSBAR_EDGE_HEALTH_PORT: '1' } })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^error EDGE_NOT_RUNNING: /)
    expect(stderr).toMatch(/^next: .*busbar-edge run/m)
  })

  it('does not take another server for an edge', async () => {
    const other = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('hello') })
    try {
      const env = { BUSBAR_EDGE_HEALTH_PORT: String(other.port) }
      expect(await busbar('edge', ['status'], { env })).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('is no edge'),
      })
    } finally {
      await other.stop(true)
    }
  })
})

describe('busbar-edge doctor', () => {
  it('checks everything on a machine without an edge, and says what to do', async () => {
    const dir = await tempDir()
    const env = {
      BUSBAR_EDGE_GATEWAY_ID: 'gateway-1',
      BUSBAR_EDGE_GATEWAY_DATA_DIR: join(dir, 'data'),
      BUSBAR_EDGE_MQTT_TCP_PORT: '0',
      BUSBAR_EDGE_HEALTH_PORT: '0',
      BUSBAR_EDGE_UPLINK_ADDRESS: '127.0.0.1:1',
    }
    const { code, stdout } = await busbar('edge', ['doctor', '--json'], { env })
    const { findings } = JSON.parse(stdout) as { findings: { check: string; outcome: string; hint?: string }[] }
    const outcomes = Object.fromEntries(findings.map(({ check, outcome }) => [check, outcome]))
    expect(outcomes).toMatchObject({
      config: 'ok',
      'data-dir': 'ok',
      fsync: 'ok',
      credentials: 'warn',
      'mqtt-reach': 'warn',
      'mqtt-tcp': 'ok',
      'health-port': 'ok',
      uplink: 'fail',
      clock: 'ok',
    })
    expect(code).toBe(1)
    for (const { outcome, hint } of findings) expect(outcome === 'ok' || Boolean(hint)).toBe(true)
  })

  it('names who holds a port, and a data directory that is none', async () => {
    const dir = await tempDir()
    writeFileSync(join(dir, 'data'), 'a file')
    const holder = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data: () => {} } })
    try {
      const env = {
        BUSBAR_EDGE_GATEWAY_ID: 'gateway-1',
        BUSBAR_EDGE_GATEWAY_DATA_DIR: join(dir, 'data'),
        BUSBAR_EDGE_MQTT_TCP_HOST: '127.0.0.1',
        BUSBAR_EDGE_MQTT_TCP_PORT: String(holder.port),
        BUSBAR_EDGE_HEALTH_PORT: '0',
        BUSBAR_EDGE_UPLINK_ENABLED: 'false',
      }
      const { code, stdout } = await busbar('edge', ['doctor'], { env })
      expect(code).toBe(1)
      expect(stdout).toMatch(/^FAIL {2}data-dir: .*data/m)
      expect(stdout).toContain(`FAIL  mqtt-tcp: 127.0.0.1:${holder.port} is held by another program`)
      expect(stdout).toContain('warn  uplink: uplink.enabled is false')
    } finally {
      holder.stop(true)
    }
  })

  it('tells a port that speaks no gRPC from one that does not answer', async () => {
    const dir = await tempDir()
    mkdirSync(join(dir, 'data'))
    const other = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('hello') })
    try {
      const env = {
        BUSBAR_EDGE_GATEWAY_ID: 'gateway-1',
        BUSBAR_EDGE_GATEWAY_DATA_DIR: join(dir, 'data'),
        BUSBAR_EDGE_MQTT_TCP_PORT: '0',
        BUSBAR_EDGE_UPLINK_ADDRESS: `127.0.0.1:${other.port}`,
        BUSBAR_EDGE_UPLINK_INSECURE: 'true',
      }
      expect((await busbar('edge', ['doctor'], { env })).stdout).toContain('accepts connections but no gRPC')
    } finally {
      await other.stop(true)
    }
  })

  it('reports a wrong config and checks no further', async () => {
    const { code, stdout } = await busbar('edge', ['doctor'])
    expect(code).toBe(1)
    expect(stdout).toContain('FAIL  config: 1 problem in the config:')
    expect(stdout).toContain('1 of 1 checks failed')
  })
})
