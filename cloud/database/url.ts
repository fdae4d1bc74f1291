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
  const fault = databaseUrlFault(url, tlsEnabled)
  if (fault !== null) {
    const message = `database URL "${redactDatabaseUrl(url)}" is invalid: it ${fault}`
    throw new BusbarError(message, { code: 'DATABASE_URL_INVALID', hint: MAY_BE })
  }
  if (url === 'memory:') return { dialect: 'sqlite', path: ':memory:' }
  if (url.startsWith('sqlite:')) return { dialect: 'sqlite', path: sqlitePath(url) }
  return { dialect: 'postgres', connectionString: withoutTls(url), host: hostOf(new URL(url)) }
}

/** Why a URL is none of a database, in words that follow `database.url` and show nothing of it but TLS; null when it is one. */
export function databaseUrlFault(url: string, tlsEnabled: boolean): string | null {
  if (url === 'memory:') return null
  if (url.startsWith('sqlite:')) {
    const path = sqlitePath(url)
    if (path === '') return 'names no file'
    return path.startsWith('//') ? 'names a host; a SQLite file has no host' : null
  }
  if (!/^postgres(ql)?:/.test(url)) return 'has a scheme that is none of sqlite, memory and postgres'
  const parsed = URL.parse(url)
  if (parsed === null) return 'is not a well-formed URL; in a password, / is %2F, ? is %3F and # is %23'
  if (parsed.hostname === '' && !parsed.searchParams.has('host')) return 'names no host'
  if (parsed.pathname.length <= 1) return 'names no database'
  return tlsContradiction(parsed, tlsEnabled)
}

/** sqlite:///var/lib/x.db and sqlite:/var/lib/x.db name the same file. */
function sqlitePath(url: string): string {
  return url.slice('sqlite:'.length).replace(/^\/\/(?=\/)/, '')
}

/** The URL with its password replaced, for logs and errors; of what is none of ours nothing is shown. */
export function redactDatabaseUrl(url: string): string {
  if (!/^((memory|sqlite|postgres(ql)?):|$)/.test(url)) return '***'
  return url.replace(/^([a-z]+:(?:\/\/)?[^:/@]*):.*@/i, '$1:***@').replace(/([?&][^=&]*password=)[^&]*/gi, '$1***')
}

/** Parameters by which PostgreSQL's own tools are told about TLS. */
const TLS_PARAMETER = /^(ssl.*|uselibpqcompat|tls.*)$/
/** Values of `sslmode` and `ssl` that ask for no more than what is done here with TLS. */
const ASKS_FOR_TLS = ['require', 'verify-ca', 'verify-full', 'true', '1']

/** What of a URL says something else than the settings do. With TLS certificate and name of the server are always checked. */
function tlsContradiction(url: URL, tlsEnabled: boolean): string | null {
  for (const [name, value] of url.searchParams) {
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
