import { describe, expect, it } from 'vitest'
import { parseDatabaseUrl, redactDatabaseUrl } from '../../../cloud/database/url.ts'

describe('database URLs', () => {
  it.each([
    ['sqlite:/var/lib/busbar/cloud.db', '/var/lib/busbar/cloud.db'],
    ['sqlite:///var/lib/busbar/cloud.db', '/var/lib/busbar/cloud.db'],
    ['sqlite:cloud.db', 'cloud.db'],
    ['sqlite::memory:', ':memory:'],
  ])('%s is a file', (url, path) => {
    expect(parseDatabaseUrl(url)).toEqual({ dialect: 'sqlite', path })
  })

  it.each(['postgres://u:p@db:5432/busbar', 'postgresql://db/busbar?sslmode=require', 'postgres:///busbar?host=/run'])(
    '%s is a server',
    (url) => expect(parseDatabaseUrl(url)).toEqual({ dialect: 'postgres', connectionString: url }),
  )

  it('memory: is a database of the process alone', () => {
    expect(parseDatabaseUrl('memory:')).toEqual({ dialect: 'sqlite', path: ':memory:' })
  })

  it.each([
    ['', 'none of sqlite, memory and postgres'],
    ['mysql://db/busbar', 'none of sqlite, memory and postgres'],
    ['sqlite:', 'names no file'],
    ['sqlite://host/file.db', 'has no host'],
    ['postgres://', 'names no host'],
    ['postgres://db:port/busbar', 'well-formed'],
    ['postgres://db:5432', 'names no database'],
  ])('"%s" is refused: %s', (url, reason) => {
    const parse = () => parseDatabaseUrl(url)
    expect(parse).toThrow(reason)
    expect(parse).toThrow(`"${url}"`)
    expect(parse).toThrow(
      expect.objectContaining({ code: 'DATABASE_URL_INVALID', hint: expect.stringContaining('sqlite:/') }),
    )
  })

  it('are shown without their password', () => {
    expect(redactDatabaseUrl('postgres://user:s3cr:e@t@db/busbar')).toBe('postgres://user:***@db/busbar')
    expect(redactDatabaseUrl('postgres://db/busbar?user=u&password=x&sslmode=require')).not.toContain('=x')
    expect(() => parseDatabaseUrl('postgres://user:secret@db')).not.toThrow('secret')
  })
})
