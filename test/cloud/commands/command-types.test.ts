import { describe, expect, it, test } from 'vitest'
import { COMMAND_TYPES, type CommandRules, checkCommand } from '../../../cloud/commands/commands.ts'

const RULES: CommandRules = { allowUnknownTypes: true, payloadBytesMax: 1_000 }

function pointers(name: string, params: unknown, rules: CommandRules = RULES): string[] {
  const problems = checkCommand(name, params, rules)
  for (const { remedy } of problems) expect(remedy).not.toBe('')
  return problems.map(({ pointer }) => pointer)
}

describe('known commands', () => {
  test('are these', () => {
    expect(Object.keys(COMMAND_TYPES)).toEqual([
      'SET_TOU',
      'REBOOT',
      'READ_REGISTERS',
      'SYNC_TIME',
      'REMOTE_DISCONNECT',
      'REMOTE_RECONNECT',
    ])
  })

  it.each<[string, unknown]>([
    ['SET_TOU', { tou_profile_id: 'TOU-2025-TEST' }],
    ['SET_TOU', { tou_profile_id: 'x', effective_at: '2026-03-01T00:00:00+01:00' }],
    ['REBOOT', null],
    ['REBOOT', undefined],
    ['REBOOT', {}],
    ['REBOOT', { force: true, delay_seconds: 0 }],
    ['READ_REGISTERS', { registers: ['1-0:1.8.0*255', 'voltage_l1'] }],
    ['SYNC_TIME', null],
    ['SYNC_TIME', { max_adjust_seconds: 30 }],
    ['REMOTE_DISCONNECT', { reason: 'unpaid' }],
    ['REMOTE_RECONNECT', null],
  ])('%s takes %j', (name, params) => {
    expect(pointers(name, params)).toEqual([])
  })

  it.each<[string, unknown, string[]]>([
    ['SET_TOU', null, ['/payload']],
    ['SET_TOU', {}, ['/payload/tou_profile_id']],
    ['SET_TOU', 'x', ['/payload']],
    ['SET_TOU', [], ['/payload']],
    ['SET_TOU', { tou_profile_id: 7, effective_at: 'soon' }, ['/payload/tou_profile_id', '/payload/effective_at']],
    ['SET_TOU', { tou_profile_id: '', priority: 1 }, ['/payload/priority', '/payload/tou_profile_id']],
    ['REBOOT', { force: 'yes' }, ['/payload/force']],
    ['REBOOT', { delay_seconds: -1 }, ['/payload/delay_seconds']],
    ['READ_REGISTERS', null, ['/payload']],
    ['READ_REGISTERS', { registers: [] }, ['/payload/registers']],
    ['READ_REGISTERS', { registers: ['1-0:1.8.0*255', 'a b', 5] }, ['/payload/registers/1', '/payload/registers/2']],
    ['READ_REGISTERS', { registers: Array(101).fill('a') }, ['/payload/registers']],
    ['SYNC_TIME', { max_adjust_seconds: 0.5 }, ['/payload/max_adjust_seconds']],
    ['REMOTE_DISCONNECT', { reason: '' }, ['/payload/reason']],
    ['REMOTE_RECONNECT', { because: 'x' }, ['/payload/because']],
  ])('%s refuses %j', (name, params, expected) => {
    expect(pointers(name, params).toSorted()).toEqual(expected.toSorted())
  })

  test('say of what is too much that it is, and what there is', () => {
    expect(checkCommand('REBOOT', { colour: 'red' }, RULES)).toEqual([
      { pointer: '/payload/colour', value: 'red', remedy: 'leave it out; its members are force, delay_seconds' },
    ])
  })
})

describe('other commands', () => {
  it.each(['reboot', 'constructor', '__proto__', 'vendor:calibrate-2.0'])('%s may have any JSON', (name) => {
    for (const params of [null, 5, 'x', [1], { any: { thing: true } }]) expect(pointers(name, params)).toEqual([])
  })

  it.each(['reboot', 'toString'])('%s is refused where only known ones are allowed', (name) => {
    expect(pointers(name, null, { ...RULES, allowUnknownTypes: false })).toEqual(['/name'])
  })

  it.each(['', 'two words', 'x'.repeat(65), 'a/b', 'Zähler', 'a\n'])('%j is no name', (name) => {
    expect(pointers(name, null)).toEqual(['/name'])
  })
})

describe('parameters', () => {
  test('may be as large as the limit, counted as UTF-8', () => {
    // Two quotes, and two bytes a character.
    expect(pointers('x', 'ä'.repeat(499))).toEqual([])
    expect(checkCommand('x', 'ä'.repeat(500), RULES)).toEqual([
      { pointer: '/payload', value: '1002 bytes', remedy: 'at most 1000 bytes as JSON (commands.payloadBytesMax)' },
    ])
  })

  test('may be nested to the limit, and no nesting is too deep to be judged', () => {
    const nested = (levels: number) => {
      let value: unknown = 0
      for (let i = 0; i < levels; i++) value = i % 2 === 0 ? [value] : { value }
      return value
    }
    expect(pointers('x', nested(32))).toEqual([])
    expect(pointers('x', nested(33))).toEqual(['/payload'])
    expect(pointers('SET_TOU', nested(1_000_000))).toEqual(['/payload'])
  })

  test('are named by where the caller has them', () => {
    const places = { name: '/command_type', params: '/command_params' }
    const rules = { ...RULES, allowUnknownTypes: false }
    expect(checkCommand('SET_TOU', {}, rules, places)[0]?.pointer).toBe('/command_params/tou_profile_id')
    expect(checkCommand('other', {}, rules, places)[0]?.pointer).toBe('/command_type')
  })
})
