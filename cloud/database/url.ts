/** Database URLs: what they may be, and how they are shown without their password. */

import { BusbarError } from '../../shared/errors.ts'

export type DatabaseUrl =
  /** `:memory:` is a database of this process alone, gone with it. */
  | { readonly dialect: 'sqlite'; readonly path: string }
  | {
      readonly dialect: 'postgres'
      /** Without parameters about TLS, which would override what is set here. */
      readonly connectionString: string
      /** Name, address, or directory of a Unix socket. */
      readonly host: string
    }

const MAY_BE = 'use sqlite:/path/to/file.db, memory: or postgres://user:password@host:5432/database'

/**
 * @param tlsEnabled whether the connection will be encrypted, which the URL must not contradict.
 * @throws BusbarError DATABASE_URL_INVALID naming the URL (without its password) and what it may be.
 */
export function parseDatabaseUrl(url: string, tlsEnabled = false): DatabaseUrl {
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
    const contradiction = tlsContradiction(url, tlsEnabled)
    if (contradiction !== null) throw invalid(url, `it ${contradiction}`)
    return { dialect: 'postgres', connectionString: withoutTls(url), host: hostOf(parsed) }
  }
  throw invalid(url, 'its scheme is none of sqlite, memory and postgres')
}

/** The URL with its password replaced, for logs and errors. */
export function redactDatabaseUrl(url: string): string {
  return url.replace(/^([a-z]+:(?:\/\/)?[^:/@]*):.*@/i, '$1:***@').replace(/([?&][^=&]*password=)[^&]*/gi, '$1***')
}

/** Parameters by which PostgreSQL's own tools are told about TLS. */
const TLS_PARAMETER = /^(ssl.*|uselibpqcompat|tls.*)$/
/** Values of `sslmode` and `ssl` that ask for no more than what is done here with TLS. */
const ASKS_FOR_TLS = ['require', 'verify-ca', 'verify-full', 'true', '1']

/**
 * What of a URL says something else about TLS than the settings do, in words that follow `database.url`; null when
 * nothing does. With TLS the certificate and the name of the server are always checked.
 */
export function tlsContradiction(url: string, tlsEnabled: boolean): string | null {
  const parsed = /^postgres(ql)?:/.test(url) ? URL.parse(url) : null
  if (parsed === null) return null
  for (const [name, value] of parsed.searchParams) {
    if (!TLS_PARAMETER.test(name)) continue
    if (name !== 'sslmode' && name !== 'ssl') return `has ${name}, which is set in database.tls instead`
    const agrees = tlsEnabled ? ASKS_FOR_TLS.includes(value) : ['disable', 'false', '0'].includes(value)
    if (!agrees) return `has ${name}=${value} while database.tls.enabled is ${tlsEnabled}; leave it out`
  }
  return null
}

function withoutTls(url: string): string {
  const [base, query = ''] = url.split(/\?(.*)/s)
  const kept = query.split('&').filter((pair) => pair !== '' && !TLS_PARAMETER.test(pair.replace(/=.*/s, '')))
  return kept.length === 0 ? (base as string) : `${base}?${kept.join('&')}`
}

function hostOf(url: URL): string {
  return url.searchParams.get('host') ?? decodeURIComponent(url.hostname).replace(/^\[(.+)\]$/, '$1')
}

function invalid(url: string, reason: string): BusbarError {
  const message = `database URL "${redactDatabaseUrl(url)}" is invalid: ${reason}`
  return new BusbarError(message, { code: 'DATABASE_URL_INVALID', hint: MAY_BE })
}
