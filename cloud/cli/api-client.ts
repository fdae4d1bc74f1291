/** The REST API of a core as the command line uses it. */

import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import { retry } from '../../shared/retry.ts'
import type { ProblemDetails } from '../api/http/problem.ts'
import { CLOUD_CA_FILE_VARIABLE } from '../config.ts'
import { type Credentials, refuseInClear } from './credentials.ts'

export interface ApiClientOptions {
  /** Such as http://127.0.0.1:8080. */
  readonly url: string
  /** PEM of what the core is trusted by; absent for what the system trusts. */
  readonly ca?: string | undefined
  /** Who asks; absent for nobody. */
  readonly credentials?: Credentials
  readonly clock: Clock
  readonly random: Random
}

/** A page of a listing. */
export interface PageBody<T> {
  readonly items: readonly T[]
  readonly nextCursor: string | null
}

export type Query = Readonly<Record<string, string | number | undefined>>

const ANSWER_TIMEOUT_MS = 30_000
/** A request is sent so many times at most while the core cannot answer. */
const TRIES_MAX = 4
const BACKOFF = { baseMs: 200, capMs: 1_000 }
/** What says that it is not who is asked, or that nobody here vouches for them. */
const CERTIFICATE_REFUSED = /^(CERT_|ERR_TLS_CERT|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|UNKNOWN_CERTIFICATE)/
/** What the runtime says to programmers behind why a connection failed. */
const ADVICE = / (?:For more information, pass `verbose|Is the computer able to access).*$/s
/** What is read of an answer that is neither JSON nor what was asked for. */
const NO_JSON = Symbol('no JSON')

type Reading = (response: Response) => Promise<unknown>

interface Manner {
  /** Default again. */
  readonly times?: 'once' | 'again'
  /** Of an answer that is no problem. Default JSON. */
  readonly read?: Reading
}

/** Items asked for at once where more are wanted. */
const PAGE = 500

export class ApiClient {
  private readonly options: ApiClientOptions
  private readonly base: URL

  /** @throws BusbarError USAGE when the URL is none. */
  constructor(options: ApiClientOptions) {
    this.options = options
    this.base = parseUrl(options.url)
  }

  /** @throws BusbarError API_UNREACHABLE, API_ANSWER_UNKNOWN, or the code of the problem that the core answers with. */
  get<T>(path: string, query: Query = {}): Promise<T> {
    return this.ask<T>('GET', path, query, undefined, {})
  }

  /** Where it is, such as https://busbar.example. */
  get origin(): string {
    return this.base.origin
  }

  /**
   * What is too large to be held, as it comes. It is asked for again while the core cannot answer, and never once it began.
   * @throws BusbarError as `get`; reading throws DOWNLOAD_CUT when it breaks off before its end.
   */
  async *download(path: string, query: Query = {}): AsyncGenerator<Uint8Array, void, void> {
    const { origin } = this.base
    const { body } = await this.ask<Response>('GET', path, query, undefined, {}, { read: readStream })
    try {
      for await (const chunk of body ?? []) yield chunk
    } catch (cause) {
      throw new BusbarError(`what ${origin} sends broke off before its end: ${messageOf(cause).replace(ADVICE, '')}`, {
        code: 'DOWNLOAD_CUT',
        hint: 'what came is a part of it: try again, or ask for less at once',
        cause,
      })
    }
  }

  /**
   * Has one effect, however often it must be sent: every try carries the same key.
   * @param key the caller's own, when it may run again.
   */
  post<T>(path: string, body: unknown, key?: string): Promise<T> {
    const headers = {
      'content-type': 'application/json',
      'idempotency-key': key ?? randomHex(this.options.random, 16),
    }
    return this.ask<T>('POST', path, {}, JSON.stringify(body), headers)
  }

  /** Changes what is there; the same twice has the effect of once. */
  patch<T>(path: string, body: unknown): Promise<T> {
    return this.ask<T>('PATCH', path, {}, JSON.stringify(body), { 'content-type': 'application/json' })
  }

  /** Ends what is there; what is gone already is no error of the second try. */
  delete<T>(path: string): Promise<T> {
    return this.ask<T>('DELETE', path, {}, undefined, {})
  }

  /**
   * For what takes no key and must not happen twice: once it may have arrived it is not sent again, and nobody is told that
   * who asks is unknown but by what the core answers.
   */
  postOnce<T>(path: string, body: unknown): Promise<T> {
    const headers = { 'content-type': 'application/json' }
    return this.ask<T>('POST', path, {}, JSON.stringify(body), headers, { times: 'once' })
  }

  /** The first `count` items of a listing, over as many pages as that takes. */
  async list<T>(path: string, query: Query, count: number): Promise<PageBody<T>> {
    const items: T[] = []
    let nextCursor: string | null = null
    do {
      const page: PageBody<T> = await this.get<PageBody<T>>(path, {
        ...query,
        limit: Math.min(PAGE, count - items.length),
        cursor: nextCursor ?? undefined,
      })
      items.push(...page.items)
      nextCursor = page.nextCursor
    } while (nextCursor !== null && items.length < count)
    return { items, nextCursor }
  }

  private async ask<T>(
    method: string,
    path: string,
    query: Query,
    body: string | undefined,
    headers: Record<string, string>,
    manner: Manner = {},
  ): Promise<T> {
    const url = new URL(path, this.base)
    for (const [name, value] of Object.entries(query))
      if (value !== undefined) url.searchParams.set(name, String(value))
    const { credentials } = this.options
    const request = { method, headers, ...(body === undefined ? {} : { body }) }
    const token = (await credentials?.token()) ?? null
    try {
      return await this.askAs<T>(token, url, request, manner)
    } catch (error) {
      // What was refused for who asks had no effect, so it may be asked again under a token that is newer.
      if (!(error instanceof UnauthenticatedError) || token === null) throw error
      const newer = (await credentials?.token(token)) ?? null
      if (newer === null || newer === token) throw error
      return await this.askAs<T>(newer, url, request, manner)
    }
  }

  private async askAs<T>(
    token: string | null,
    url: URL,
    request: RequestInit & { readonly headers: Record<string, string> },
    { times = 'again', read = readJson }: Manner,
  ): Promise<T> {
    if (token !== null) refuseInClear(this.base)
    const headers = token === null ? request.headers : { ...request.headers, authorization: `Bearer ${token}` }
    const { clock, random } = this.options
    let tries = 0
    return await retry(() => this.askOnce<T>(url, { ...request, headers }, read), {
      clock,
      random,
      backoff: BACKOFF,
      signal: new AbortController().signal,
      isRetryable: (error) =>
        ++tries < TRIES_MAX &&
        error instanceof BusbarError &&
        error.retryable &&
        (times === 'again' || wasNotSent(error)),
    })
  }

  private async askOnce<T>(url: URL, request: RequestInit, read: Reading): Promise<T> {
    const { ca, clock, credentials } = this.options
    const abort = new AbortController()
    const timer = clock.after(ANSWER_TIMEOUT_MS, () => abort.abort())
    const tls = ca === undefined ? {} : { tls: { ca } }
    let response: Response
    let answer: unknown
    try {
      // A redirect would take the token along to who knows where.
      response = await fetch(url, { ...request, ...tls, redirect: 'manual', signal: abort.signal })
      answer = await (response.ok ? read : readJson)(response)
    } catch (cause) {
      throw this.unreachable(cause)
    } finally {
      timer.cancel()
    }
    if (response.ok && answer !== NO_JSON) return answer as T
    if (isProblem(answer)) throw problemError(answer, credentials)
    throw new BusbarError(`what answers on ${this.base.origin} is no core (HTTP ${response.status})`, {
      code: 'API_ANSWER_UNKNOWN',
      hint: 'set --url or BUSBAR_CLOUD_URL to the address of a core, such as http://127.0.0.1:8080',
    })
  }

  private unreachable(cause: unknown): BusbarError {
    const { origin } = this.base
    if (CERTIFICATE_REFUSED.test(codeOf(cause))) {
      return new BusbarError(`the certificate of ${origin} is not trusted: ${messageOf(cause)}`, {
        code: 'API_UNTRUSTED',
        hint:
          `give the certificate of its authority with --ca-file or ${CLOUD_CA_FILE_VARIABLE}, and the name that it is for; ` +
          'where api.tls has no certFile that is certificatePem at /api/v1/enrolment/authority, to be fetched on the machine of the core',
        cause,
      })
    }
    return new BusbarError(`no core answers on ${origin}: ${messageOf(cause).replace(ADVICE, '')}`, {
      code: 'API_UNREACHABLE',
      retryable: true,
      hint:
        'start one with `busbar-cloud serve`, or say where it is with --url or BUSBAR_CLOUD_URL; ' +
        'with api.tls that begins with https://',
      cause,
    })
  }
}

/** Nobody is logged in, or not as somebody whom the core takes. */
class UnauthenticatedError extends BusbarError {}

function wasNotSent({ cause }: BusbarError): boolean {
  return /^(ConnectionRefused|ECONNREFUSED)$/.test(codeOf(cause))
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown } | null | undefined)?.code ?? '')
}

/** The problem with everything that is said of it: what is wrong where, and the next step. */
function problemError(problem: ProblemDetails, credentials: Credentials | undefined): BusbarError {
  const { code, status, title, detail, errors = [], hint } = problem
  const listed = errors.map((error) => {
    const value = error.value === undefined ? '' : ` is ${JSON.stringify(error.value)}`
    return `\n  ${error.in} ${error.pointer === '' ? '(all of it)' : error.pointer}${value}: ${error.remedy}`
  })
  const message = `${detail ?? title}${listed.join('')}`
  if (status === 401 && credentials !== undefined)
    return new UnauthenticatedError(message, { code, hint: credentials.hint })
  return new BusbarError(message, {
    code,
    retryable: status === 503 || code === 'IDEMPOTENCY_IN_FLIGHT',
    ...(hint === undefined ? {} : { hint }),
  })
}

function isProblem(answer: unknown): answer is ProblemDetails {
  const { code, status } = (typeof answer === 'object' && answer !== null ? answer : {}) as Partial<ProblemDetails>
  return typeof code === 'string' && typeof status === 'number'
}

/** Undefined for what is empty. */
async function readJson(response: Response): Promise<unknown> {
  const text = await response.text()
  try {
    return text === '' ? undefined : JSON.parse(text)
  } catch {
    return NO_JSON
  }
}

/** Not what another server, such as a proxy, shows people. */
async function readStream(response: Response): Promise<unknown> {
  if (!/^text\/html\b/.test(response.headers.get('content-type') ?? '')) return response
  await response.body?.cancel()
  return NO_JSON
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url
  throw new BusbarError(`"${text}" is no address of a core`, {
    code: 'USAGE',
    hint: 'give --url or BUSBAR_CLOUD_URL as http://host:port',
  })
}
