import { describe, expect, it } from 'vitest'
import { failureKind, isRetryable, translate } from '../../../cloud/database/failure.ts'
import { BusbarError } from '../../../shared/errors.ts'

const withCode = (code: string) => Object.assign(new Error(`failed with ${code}`), { code })

describe('failures of a database', () => {
  it.each([
    'ECONNREFUSED',
    'ECONNRESET',
    '08006',
    '53300',
    '57P01',
    '57P03',
    '25006',
    'SQLITE_FULL',
    'SQLITE_IOERR_WRITE',
  ])('%s means that it is not available', (code) => {
    expect(failureKind(withCode(code))).toBe('unavailable')
    expect(isRetryable(withCode(code))).toBe(true)
  })

  it.each(['Connection terminated unexpectedly', 'timeout exceeded when trying to connect', 'Query read timeout'])(
    '"%s" means that it is not available',
    (message) => expect(failureKind(new Error(message))).toBe('unavailable'),
  )

  it.each(['40001', '40P01', 'SQLITE_BUSY', 'SQLITE_BUSY_SNAPSHOT'])('%s means that others are at work', (code) => {
    expect(failureKind(withCode(code))).toBe('contended')
    expect(isRetryable(withCode(code))).toBe(true)
  })

  it.each(['23505', 'SQLITE_CONSTRAINT_UNIQUE', 'SQLITE_CONSTRAINT_PRIMARYKEY'])('%s means a duplicate', (code) => {
    expect(failureKind(withCode(code))).toBe('duplicate')
    expect(isRetryable(withCode(code))).toBe(false)
  })

  it.each(['28P01', '3D000', 'SQLITE_NOTADB', 'SQLITE_READONLY', 'EACCES'])('%s is for an operator to mend', (code) => {
    expect(translate(withCode(code), 'sqlite:x.db')).toMatchObject({
      code: 'DATABASE_REFUSED',
      retryable: false,
      hint: expect.stringContaining('database.url'),
    })
  })

  it.each(['42601', '42P01', 'SQLITE_ERROR'])('%s is our own', (code) => {
    expect(isRetryable(withCode(code))).toBe(false)
    expect(translate(withCode(code), 'sqlite:x.db')).toEqual(withCode(code))
  })

  it('finds the reason where a host has several addresses', () => {
    const error = new AggregateError([withCode('ECONNREFUSED'), withCode('ECONNREFUSED')])
    expect(translate(error, 'postgres://db/busbar')).toMatchObject({
      code: 'DATABASE_UNAVAILABLE',
      message: expect.stringContaining('ECONNREFUSED'),
      cause: error,
    })
  })

  it('knows its own translation again', () => {
    const translated = translate(withCode('40001'), 'postgres://db/busbar')
    expect(translated).toBeInstanceOf(BusbarError)
    expect(failureKind(translated)).toBe('contended')
    expect(translate(translated, 'elsewhere')).toBe(translated)
  })
})
