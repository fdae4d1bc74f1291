/** The REST API of a core as the command line uses it. */

import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import { retry } from '../../shared/retry.ts'
import type { ProblemDetails } from '../api/http/problem.ts'

export interface ApiClientOptions {
  /** Such as http://127.0.0.1:8080. */
  readonly url: string
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

  private ask<T>(
    method: string,
    path: string,
    query: Query,
    body: string | undefined,
    headers: Record<string, string>,
  ): Promise<T> {
    const url = new URL(path, this.base)
    for (const [name, value] of Object.entries(query))
      if (value !== undefined) url.searchParams.set(name, String(value))
    const { clock, random } = this.options
    let tries = 0
    return retry(() => this.askOnce<T>(url, { method, headers, ...(body === undefined ? {} : { body }) }), {
      clock,
      random,
      backoff: BACKOFF,
      signal: new AbortController().signal,
      isRetryable: (error) => ++tries < TRIES_MAX && error instanceof BusbarError && error.retryable,
    })
  }

  private async askOnce<T>(url: URL, request: RequestInit): Promise<T> {
    const abort = new AbortController()
    const timer = this.options.clock.after(ANSWER_TIMEOUT_MS, () => abort.abort())
    let response: Response
    let text: string
    try {
      response = await fetch(url, { ...request, signal: abort.signal })
      text = await response.text()
    } catch (cause) {
      throw new BusbarError(`no core answers on ${this.base.origin}: ${messageOf(cause)}`, {
        code: 'API_UNREACHABLE',
        retryable: true,
        hint: 'start one with `busbar-cloud serve`, or say where it is with --url or BUSBAR_CLOUD_URL',
        cause,
      })
    } finally {
      timer.cancel()
    }
    const answer = parseJson(text)
    if (response.ok && answer !== undefined) return answer as T
    if (isProblem(answer)) throw problemError(answer)
    throw new BusbarError(`what answers on ${this.base.origin} is no core (HTTP ${response.status})`, {
      code: 'API_ANSWER_UNKNOWN',
      hint: 'set --url or BUSBAR_CLOUD_URL to the address of a core, such as http://127.0.0.1:8080',
    })
  }
}

/** The problem with everything that is said of it: what is wrong where, and the next step. */
function problemError(problem: ProblemDetails): BusbarError {
  const { code, status, title, detail, errors = [], hint } = problem
  const listed = errors.map((error) => {
    const value = error.value === undefined ? '' : ` is ${JSON.stringify(error.value)}`
    return `\n  ${error.in} ${error.pointer === '' ? '(all of it)' : error.pointer}${value}: ${error.remedy}`
  })
  return new BusbarError(`${detail ?? title}${listed.join('')}`, {
    code,
    retryable: status === 503 || code === 'IDEMPOTENCY_IN_FLIGHT',
    ...(hint === undefined ? {} : { hint }),
  })
}

function isProblem(answer: unknown): answer is ProblemDetails {
  const { code, status } = (typeof answer === 'object' && answer !== null ? answer : {}) as Partial<ProblemDetails>
  return typeof code === 'string' && typeof status === 'number'
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url
  throw new BusbarError(`"${text}" is no address of a core`, {
    code: 'USAGE',
    hint: 'give --url or BUSBAR_CLOUD_URL as http://host:port',
  })
}
