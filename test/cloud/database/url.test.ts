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

  it.each([
    ['postgres://u:p@db:5432/busbar', 'db'],
    ['postgres:///busbar?host=/run', '/run'],
    ['postgresql://u@[::1]/busbar?application_name=x', '::1'],
  ])('%s is a server', (url, host) => {
    expect(parseDatabaseUrl(url)).toEqual({ dialect: 'postgres', connectionString: url, host })
  })

  it('may ask for TLS where it is set, and for none where it is not; everything else is said in one place', () => {
    const parse = (parameters: string, tlsEnabled: boolean) =>
      parseDatabaseUrl(`postgres://db/busbar?${parameters}`, tlsEnabled)
    // What is left in would win over the settings.
    for (const agreed of ['sslmode=require', 'sslmode=verify-full', 'ssl=true']) {
      expect(parse(`${agreed}&connect_timeout=3`, true)).toMatchObject({
        connectionString: 'postgres://db/busbar?connect_timeout=3',
      })
      expect(() => parse(agreed, false)).toThrow(`it has ${agreed} while database.tls.enabled is false`)
    }
    expect(parse('sslmode=disable', false)).toMatchObject({ connectionString: 'postgres://db/busbar' })
    for (const weak of [
      'sslmode=disable',
      'sslmode=no-verify',
      'sslmode=prefer',
      'ssl=0',
      'sslmode=verify-full&ssl=no',
    ]) {
      expect(() => parse(weak, true), weak).toThrow('while database.tls.enabled is true')
    }
    for (const other of ['sslrootcert=/ca.pem', 'sslkey=/key.pem', 'uselibpqcompat=true', 'sslnegotiation=direct']) {
      expect(() => parse(other, true), other).toThrow('is set in database.tls instead')
    }
  })

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
    expect(parse).toThrow(`"${redactDatabaseUrl(url)}"`)
    expect(parse).toThrow(
      expect.objectContaining({ code: 'DATABASE_URL_INVALID', hint: expect.stringContaining('sqlite:/') }),
    )
  })

  it('are shown without their password', () => {
    expect(redactDatabaseUrl('postgres://user:s3cr:e@t@db/busbar')).toBe('postgres://user:***@db/busbar')
    expect(redactDatabaseUrl('postgres://db/busbar?user=u&password=x&sslmode=require')).not.toContain('=x')
    expect(redactDatabaseUrl('postgres:user:s3cret@db/busbar')).not.toContain('s3cret')
    for (const url of [' postgres://user:secret@db/x', '"postgres://user:secret@db/x"', 'host=db password=secret']) {
      expect(redactDatabaseUrl(url)).toBe('***')
    }
    expect(() => parseDatabaseUrl('postgres://user:secret@db')).not.toThrow('secret')
  })
})
