import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Type } from '@sinclair/typebox'
import { describe, expect, it } from 'vitest'
import {
  bytes,
  choice,
  count,
  file,
  flag,
  fraction,
  list,
  numbers,
  requiredText,
  secretText,
  section,
  table,
} from '../../../shared/config/keys.ts'
import { loadConfig } from '../../../shared/config/load.ts'
import type { ConfigError } from '../../../shared/config/problems.ts'
import { tempDir } from '../../support/temp-dir.ts'

const schema = Type.Object({
  gateway: section('Who.', { id: requiredText('g-1', 'Name', 'letters', '^[a-z]+$') }),
  uplink: section('Where.', {
    enabled: flag(true, 'On'),
    backfillShare: fraction(0.3, [0.05, 0.95], 'Share'),
    order: choice('live-first', ['live-first', 'strict'], 'Order'),
    windowBytes: bytes(1000, [1, 2000], 'Window'),
    brokers: list([], 'Brokers', 'host:port strings', '^[a-z]+:[0-9]+$'),
    password: secretText('none', 'Password', 'at least 8 characters', '^.{8,}$|^none$'),
    tls: section('TLS.', { caFile: file('CA'), attempts: count(3, [1, 5], 'attempts', 'Attempts') }),
  }),
  types: section('Types.', {
    prefixes: table({ INV: 'INVERTER' }, 'Prefixes', 'types by prefix'),
    limits: numbers({ METER: 60 }, [0, 100], 'Limits', 'numbers from 0 to 100 by type'),
  }),
})

function load(text: string, env: Record<string, string> = {}, extra: { file?: string } = {}) {
  return loadConfig({ schema, text, env, envPrefix: 'BUSBAR_EDGE_', ...extra })
}

function problemsOf(fn: () => unknown): ConfigError {
  try {
    fn()
  } catch (error) {
    return error as ConfigError
  }
  throw new Error('it was accepted')
}

describe('a config', () => {
  it('takes the environment over the file over the defaults', () => {
    const config = load('[gateway]\nid = "a"\n[uplink]\nbackfillShare = 0.5\nwindowBytes = 1_500\n', {
      BUSBAR_EDGE_UPLINK_BACKFILL_SHARE: '0.7',
      BUSBAR_EDGE_UPLINK_TLS_CA_FILE: '/ca.pem',
      OTHER: 'x',
    })
    expect(config.uplink.backfillShare).toBe(0.7)
    expect(config.uplink.windowBytes).toBe(1500)
    expect(config.uplink.tls).toEqual({ caFile: '/ca.pem', attempts: 3 })
    expect(config.uplink.order).toBe('live-first')
    expect(config.types.prefixes).toEqual({ INV: 'INVERTER' })
  })

  it('is frozen all the way down', () => {
    const config = load('gateway.id = "a"')
    expect(Object.isFrozen(config.uplink.tls)).toBe(true)
    expect(Object.isFrozen(config.types.prefixes)).toBe(true)
  })

  it('reads every kind of value from the environment', () => {
    const config = load('', {
      BUSBAR_EDGE_GATEWAY_ID: 'a',
      BUSBAR_EDGE_UPLINK_ENABLED: 'false',
      BUSBAR_EDGE_UPLINK_ORDER: 'strict',
      BUSBAR_EDGE_UPLINK_WINDOW_BYTES: '12',
      BUSBAR_EDGE_UPLINK_BROKERS: 'a:1, b:2',
      BUSBAR_EDGE_TYPES_PREFIXES: 'X=EX,Y=WY',
    })
    expect(config.uplink).toMatchObject({ enabled: false, order: 'strict', windowBytes: 12, brokers: ['a:1', 'b:2'] })
    expect(config.types.prefixes).toEqual({ X: 'EX', Y: 'WY' })
  })

  it('takes a table of numbers from file and environment, and refuses other values', () => {
    const limits = (text: string, env = {}) => load(`[gateway]\nid = "a"\n${text}`, env).types.limits
    expect(limits('')).toEqual({ METER: 60 })
    expect(limits('[types.limits]\nINVERTER = 7\n')).toEqual({ INVERTER: 7 })
    expect(limits('', { BUSBAR_EDGE_TYPES_LIMITS: 'METER=1_0, BATTERY=0' })).toEqual({ METER: 10, BATTERY: 0 })
    for (const wrong of ['METER=x', 'METER=101', 'METER=1.5', 'METER']) {
      const { message } = problemsOf(() => limits('', { BUSBAR_EDGE_TYPES_LIMITS: wrong }))
      expect(message, wrong).toContain('must be a table of numbers from 0 to 100 by type')
    }
    expect(problemsOf(() => limits('[types.limits]\nMETER = "7"\n')).message).toContain('must be a table of numbers')
  })

  it('replaces a whole table, and {} empties it', () => {
    expect(load('gateway.id="a"\n[types.prefixes]\nA = "B"').types.prefixes).toEqual({ A: 'B' })
    expect(load('gateway.id="a"\ntypes.prefixes = {}').types.prefixes).toEqual({})
    expect(load('gateway.id="a"\n[types.prefixes]\n').types.prefixes).toEqual({ INV: 'INVERTER' })
  })

  it('tells every problem at once, in the order of the file, each with its place, value and range', () => {
    const text = `[uplink]
backfillShare = 1.5
backfilShare = 0.5
order = "newest"
enabled = "yes"
windowBytes = 12.5
brokers = ["a:1", "b"]
[uplink.tls]
attempts = 2024-01-01
`
    const error = problemsOf(() => load(text, { BUSBAR_EDGE_UPLINK_TLS_CAFILE: 'x' }, { file: 'edge.toml' }))
    expect(error.code).toBe('CONFIG_INVALID')
    expect(error.message.split('\n')).toEqual([
      '9 problems in edge.toml:',
      '  line 2: uplink.backfillShare is 1.5, must be a number from 0.05 to 0.95',
      '  line 3: uplink.backfilShare is no known key; did you mean uplink.backfillShare?',
      '  line 4: uplink.order is "newest", must be one of "live-first", "strict"',
      '  line 5: uplink.enabled is "yes", must be true or false',
      '  line 6: uplink.windowBytes is 12.5, must be an integer from 1 to 2000 (bytes)',
      '  line 7: uplink.brokers is ["a:1","b"], must be a list of host:port strings',
      '  line 9: uplink.tls.attempts is 2024-01-01T00:00:00.000Z, must be an integer from 1 to 5 (attempts)',
      '  BUSBAR_EDGE_UPLINK_TLS_CAFILE is no known variable; did you mean BUSBAR_EDGE_UPLINK_TLS_CA_FILE?',
      '  gateway.id is required: set it in the file or as BUSBAR_EDGE_GATEWAY_ID; letters',
    ])
  })

  it('names the variable of a bad value that the environment gave', () => {
    const error = problemsOf(() => load('gateway.id="a"', { BUSBAR_EDGE_UPLINK_WINDOW_BYTES: '12k' }))
    expect(error.message).toContain(
      'BUSBAR_EDGE_UPLINK_WINDOW_BYTES: uplink.windowBytes is "12k", must be an integer from 1 to 2000 (bytes)',
    )
  })

  it('finds the key in another section, in another case, and suggests nothing far-fetched', () => {
    const error = problemsOf(() => load('gateway.id="a"\nca-file = "x"\nUplink.Order = "x"\nzzz.qqq = 1'))
    expect(error.problems.map((problem) => problem.message)).toEqual([
      'is no known key; did you mean uplink.tls.caFile?',
      'is no known key; did you mean uplink.order?',
      'is no known key',
    ])
  })

  it('never prints a secret', () => {
    const error = problemsOf(() => load('gateway.id="a"\nuplink.password = "hunter2"'))
    expect(error.message).toContain('uplink.password is (hidden), must be at least 8 characters')
    expect(JSON.stringify(error.problems)).not.toContain('hunter2')
  })

  it('checks keys against each other, beside the other problems but not on top of them', () => {
    const check = () => [
      { key: 'uplink.windowBytes', message: 'must be more than twice the share' },
      { key: 'uplink.order', message: 'must be strict' },
    ]
    const error = problemsOf(() =>
      loadConfig({
        schema,
        text: '[uplink]\norder = "bad"\nwindowBytes = 7',
        env: {},
        envPrefix: 'BUSBAR_EDGE_',
        check,
      }),
    )
    expect(error.problems.map(({ key, line }) => [key, line])).toEqual([
      ['uplink.order', 2],
      ['uplink.windowBytes', 3],
      ['gateway.id', undefined],
    ])
  })

  it('says line and column of a syntax error', () => {
    const error = problemsOf(() => load('[gateway]\nid = "a\n', {}, { file: 'edge.toml' }))
    expect(error.code).toBe('CONFIG_INVALID')
    expect(error.message).toMatch(/^edge\.toml, line 2, column \d+: not valid TOML: /)
  })

  it('says that a file is missing or unreadable', async () => {
    const dir = await tempDir()
    const missing = problemsOf(() => loadConfig({ schema, file: join(dir, 'no.toml'), env: {}, envPrefix: 'B_' }))
    expect(missing).toMatchObject({ code: 'CONFIG_FILE_UNREADABLE', message: expect.stringContaining('there is no') })
    const unreadable = problemsOf(() => loadConfig({ schema, file: dir, env: {}, envPrefix: 'B_' }))
    expect(unreadable).toMatchObject({
      code: 'CONFIG_FILE_UNREADABLE',
      message: expect.stringContaining('cannot read'),
    })
    writeFileSync(join(dir, 'yes.toml'), 'gateway.id = "a"')
    expect(loadConfig({ schema, file: join(dir, 'yes.toml'), env: {}, envPrefix: 'B_' }).gateway.id).toBe('a')
  })

  it('ignores what Kubernetes adds for a service of the same name, and names asked to be ignored', () => {
    const env = {
      BUSBAR_EDGE_SERVICE_HOST: '10.0.0.1',
      BUSBAR_EDGE_PORT_1883_TCP_ADDR: '10.0.0.1',
      BUSBAR_EDGE_CONFIG: '/etc/edge.toml',
    }
    const options = { schema, text: 'gateway.id="a"', env, envPrefix: 'BUSBAR_EDGE_' }
    expect(loadConfig({ ...options, ignoredVariables: ['BUSBAR_EDGE_CONFIG'] }).gateway.id).toBe('a')
    expect(problemsOf(() => loadConfig(options)).problems).toHaveLength(1)
  })

  it('refuses arrays of tables', () => {
    expect(problemsOf(() => load('gateway.id="a"\n[[uplink]]\norder = "strict"')).message).toContain('uplink.0.order')
  })
})
