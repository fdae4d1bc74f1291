import { TypeCompiler } from '@sinclair/typebox/compiler'
import { describe, expect, it } from 'vitest'
import { optionsBody, readOptions, TaskOptionsSchema } from '../../../cloud/orchestration/task-options.ts'

const NOW = Date.UTC(2026, 0, 1, 12)
const HOUR = 3_600_000
const DEFAULTS = { expiryMs: 24 * HOUR, timeoutMs: 60_000, concurrency: 1_000 }
const schema = TypeCompiler.Compile(TaskOptionsSchema)
const read = (requested: object) => {
  expect([...schema.Errors(requested)]).toEqual([])
  return readOptions(requested, NOW, DEFAULTS)
}

describe('the options of a task', () => {
  it('are those of the server where the request says nothing', () => {
    expect(read({})).toEqual({
      options: {
        timeout_ms: 60_000,
        retries: { max: 0, backoff_ms: 10_000, max_backoff_ms: 600_000, on: ['FAILED', 'TIMED_OUT'] },
        concurrency: 1_000,
        rate: null,
        abort: [],
      },
      startAtMs: NOW,
      expiresAtMs: NOW + 24 * HOUR,
      faults: [],
    })
  })

  it('count the expiry from the start', () => {
    const scheduled = read({ start_at: '2026-01-02T12:00:00+01:00', expires_in_ms: HOUR })
    expect(scheduled).toMatchObject({ startAtMs: Date.UTC(2026, 0, 2, 11), expiresAtMs: Date.UTC(2026, 0, 2, 12) })
  })

  it('start at once what should have started long ago', () => {
    expect(read({ start_at: '2020-01-01T00:00:00Z' }).startAtMs).toBe(NOW)
  })

  it.each([
    [{ expires_at: '2026-01-01T11:59:59Z' }, '/expires_at'],
    [{ expires_at: '2026-03-01T00:00:00Z' }, '/expires_at'],
    [{ expires_at: '2026-01-02T00:00:00Z', start_at: '2026-01-03T00:00:00Z' }, '/expires_at'],
    [{ expires_at: '2026-01-02T00:00:00Z', expires_in_ms: HOUR }, '/expires_in_ms'],
    [{ start_at: '2028-01-01T00:00:00Z' }, '/start_at'],
  ])('refuse %j', (requested, pointer) => {
    expect(read(requested).faults.map((fault) => fault.pointer)).toEqual([pointer])
  })

  it.each([
    { expires_at: 'tomorrow' },
    { expires_at: '2026-02-30T00:00:00Z' },
    { timeout_ms: 5 },
    { retries: {} },
    { retries: { max: 1, on: ['EXPIRED'] } },
    { retries: { max: 1, on: [] } },
    { concurrency: 0 },
    { rate: { per_minute: 0 } },
    { abort: [{ on: 'ANY', percent: 0 }] },
    { abort: [{ on: 'CANCELLED', percent: 5 }] },
    { unknown: 1 },
  ])('have a schema that refuses %j', (requested) => {
    expect(schema.Check(requested)).toBe(false)
  })

  it('read back from what a task shows as they were', () => {
    const first = read({
      rate: { per_minute: 60, growth_factor: 1.5 },
      retries: { max: 2, backoff_ms: 900_000 },
      abort: [{ on: 'ANY', percent: 10 }],
      expires_in_ms: HOUR,
    })
    const shown = optionsBody(first.options, first.startAtMs, first.expiresAtMs)
    expect(read(JSON.parse(JSON.stringify(shown)))).toEqual(first)
  })
})
