/** Database URLs: what they may be, and how they are shown without their password. */

import { BusbarError } from '../../shared/errors.ts'

export type DatabaseUrl =
  /** `:memory:` is a database of this process alone, gone with it. */
  | { readonly dialect: 'sqlite'; readonly path: string }
  | { readonly dialect: 'postgres'; readonly connectionString: string }

const MAY_BE = 'use sqlite:/path/to/file.db, memory: or postgres://user:password@host:5432/database'

/** @throws BusbarError DATABASE_URL_INVALID naming the URL (without its password) and what it may be. */
export function parseDatabaseUrl(url: string): DatabaseUrl {
  if (url === 'memory:') return { dialect: 'sqlite', path: ':memory:' }
  if (url.startsWith('sqlite:')) {
    // sqlite:///var/lib/x.db and sqlite:/var/lib/x.db name the same file.
    const path = url.slice('sqlite:'.length).replace(/^\/\/(?=\/)/, '')
    if (path === '') throw invalid(url, 'it names no file')
    if (path.startsWith('//')) throw invalid(url, 'a SQLite file has no host')
    return { dialect: 'sqlite', path }
  }
  if (/^postgres(ql)?:/.test(url)) {
    const parsed = URL.parse(url)
    if (parsed === null) throw invalid(url, 'it is not a well-formed URL')
    if (parsed.hostname === '' && !parsed.searchParams.has('host')) throw invalid(url, 'it names no host')
    if (parsed.pathname.length <= 1) throw invalid(url, 'it names no database')
    return { dialect: 'postgres', connectionString: url }
  }
  throw invalid(url, 'its scheme is none of sqlite, memory and postgres')
}

/** The URL with its password replaced, for logs and errors. */
export function redactDatabaseUrl(url: string): string {
  return url.replace(/^([a-z]+:\/\/[^:/@]*):.*@/, '$1:***@').replace(/([?&]password=)[^&]*/g, '$1***')
}

function invalid(url: string, reason: string): BusbarError {
  const message = `database URL "${redactDatabaseUrl(url)}" is invalid: ${reason}`
  return new BusbarError(message, { code: 'DATABASE_URL_INVALID', hint: MAY_BE })
}
