import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { taskRequest } from '../../../cloud/cli/task-request.ts'
import { abortThreshold, durationMs, jsonOrMembers } from '../../../cloud/cli/values.ts'
import { tempDir } from '../../support/temp-dir.ts'

describe('values on the command line', () => {
  it('are times with a unit', () => {
    expect(['250ms', '90s', '1.5h', '15m', '2d'].map(durationMs)).toEqual([
      250, 90_000, 5_400_000, 900_000, 172_800_000,
    ])
    for (const wrong of ['90', 's', '-1s', '1 h', '1y']) expect(() => durationMs(wrong)).toThrow(/number and a unit/)
  })

  it('are parameters as JSON or as key=value', () => {
    expect(jsonOrMembers([])).toBeUndefined()
    expect(jsonOrMembers(['{"tou_profile_id":"T=1"}'])).toEqual({ tou_profile_id: 'T=1' })
    expect(jsonOrMembers(['null'])).toBeNull()
    expect(jsonOrMembers(['tou_profile_id=TOU-2025-TEST'])).toEqual({ tou_profile_id: 'TOU-2025-TEST' })
    const several = ['force=true', 'n=5', 'text="5"', 'url=http://x/?a=b', 'registers=["1-0:1.8.0*255"]', 'empty=']
    expect(jsonOrMembers(several)).toEqual({
      force: true,
      n: 5,
      text: '5',
      url: 'http://x/?a=b',
      registers: ['1-0:1.8.0*255'],
      empty: '',
    })
    for (const wrong of [['hello'], ['a=1', 'hello'], ['a=1', '=2']]) {
      expect(() => jsonOrMembers(wrong)).toThrow(/neither JSON nor key=value/)
    }
  })

  it('are thresholds of an outcome', () => {
    expect(abortThreshold('any=5.5%', abortThreshold('FAILED=20%/50'))).toEqual([
      { on: 'FAILED', percent: 20, min_results: 50 },
      { on: 'ANY', percent: 5.5 },
    ])
    for (const wrong of ['FAILED', 'FAILED=x', 'FAILED=20%/0']) {
      expect(() => abortThreshold(wrong)).toThrow(/OUTCOME=PERCENT/)
    }
  })
})

describe('a task from its flags', () => {
  const flags = { type: 'SET_TOU', requestedBy: 'op-1' }

  it('has what was given and nothing else', () => {
    expect(taskRequest({ ...flags, site: 3 })).toEqual({ command_type: 'SET_TOU', site_id: 3, requested_by: 'op-1' })
    const all = taskRequest({
      ...flags,
      params: ['tou_profile_id=T'],
      device: ['MTR-1', 'MTR-2'],
      expiresIn: 7_200_000,
      timeout: 5_000,
      retries: 2,
      retryBackoff: 100,
      concurrency: 50,
      rate: 600,
      rateGrowth: 2,
      abort: [{ on: 'FAILED', percent: 20 }],
      startAt: '2026-07-01T00:00:00Z',
    })
    expect(all).toEqual({
      command_type: 'SET_TOU',
      command_params: { tou_profile_id: 'T' },
      device_ids: ['MTR-1', 'MTR-2'],
      requested_by: 'op-1',
      options: {
        expires_in_ms: 7_200_000,
        timeout_ms: 5_000,
        retries: { max: 2, backoff_ms: 100 },
        concurrency: 50,
        rate: { per_minute: 600, growth_factor: 2 },
        abort: [{ on: 'FAILED', percent: 20 }],
        start_at: '2026-07-01T00:00:00Z',
      },
    })
  })

  it('has the devices of a file, one a line, beside those that were named', async () => {
    const devicesFile = join(await tempDir(), 'devices.txt')
    writeFileSync(devicesFile, '# first street\nMTR-2\r\n\n  MTR-3  \n')
    expect(taskRequest({ ...flags, device: ['MTR-1'], devicesFile })).toMatchObject({
      device_ids: ['MTR-1', 'MTR-2', 'MTR-3'],
    })
    // The server says what is wrong with an empty list.
    writeFileSync(devicesFile, '# none yet\n')
    expect(taskRequest({ ...flags, devicesFile })).toMatchObject({ device_ids: [] })
  })

  it('says what is missing', () => {
    expect(() => taskRequest(flags)).toThrow('which devices?')
    expect(() => taskRequest({ ...flags, devicesFile: '/nowhere/at/all' })).toThrow('cannot be read')
    expect(() => taskRequest({ ...flags, site: 1, retryBackoff: 5 })).toThrow('without --retries')
  })
})
