/**
 * Login at an identity provider. A browser is sent there and comes back, so what goes wrong is told it on a page; programs are
 * told as everywhere.
 */

import { Type } from '@sinclair/typebox'
import type { Clock } from '../../../shared/clock.ts'
import type { Identity, OidcLogins } from '../../identity/identity.ts'
import { cookiesOf } from '../http/caller.ts'
import { loginCookies } from '../http/cookies.ts'
import { noteLogin } from '../http/login-note.ts'
import { Problem, problemOf } from '../http/problem.ts'
import { type Client, defineRoute, type Route } from '../http/route.ts'
import { problemPage } from '../pages/account-pages.ts'

export interface OidcRoutesOptions {
  readonly oidc: Pick<OidcLogins, 'begin' | 'finish'>
  readonly logins: Pick<Identity['logins'], 'open'>
  /** Under which browsers reach the core, such as https://busbar.example; empty for the host that they ask for. */
  readonly publicUrl: string
  readonly clock: Clock
}

const tag = 'auth'
const START = '/api/v1/auth/oidc/start'
const CALLBACK = '/api/v1/auth/oidc/callback'
const ATTEMPT_COOKIE = 'busbar_oidc'
const ATTEMPT_SECONDS = 600

export function oidcRoutes({ oidc, logins, publicUrl, clock }: OidcRoutesOptions): Route[] {
  /** The same whichever of the two asks: the provider compares. */
  const callbackUrl = (request: Request, client: Client): URL =>
    new URL(CALLBACK, ownOrigin(publicUrl, request, client))
  return [
    defineRoute(
      {
        method: 'GET',
        path: START,
        operationId: 'beginOidcLogin',
        tag,
        summary: 'Log in at the identity provider: for browsers, which are sent there',
        permission: 'none',
        query: Type.Object({
          return_to: Type.Optional(Type.String({ maxLength: 1_000, description: 'Path to show afterwards' })),
        }),
        responses: { 302: { description: 'To the identity provider' } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query, request, client }) =>
        await orPage(request, client, async () => {
          const { url, sealed } = await oidc.begin(callbackUrl(request, client).href, query.return_to ?? null)
          return redirect(url.href, [attemptCookie(sealed, client)])
        }),
    ),
    defineRoute(
      {
        method: 'GET',
        path: CALLBACK,
        operationId: 'finishOidcLogin',
        tag,
        summary: 'Where the identity provider sends the browser back to',
        permission: 'none',
        activity: 'login',
        responses: { 302: { description: 'Logged in: to the path that was asked for' } },
        problems: ['UNAUTHENTICATED', 'FORBIDDEN', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ request, client, activity }) =>
        await orPage(request, client, async () => {
          const callback = callbackUrl(request, client)
          callback.search = URL.parse(request.url)?.search ?? ''
          const sealed = cookiesOf(request.headers).get(attemptCookieName(client)) ?? null
          const { userId, returnTo } = await oidc.finish(callback, sealed, client.address)
          const userAgent = request.headers.get('user-agent')
          const tokens = await logins.open(userId, 'oidc', { address: client.address, userAgent })
          noteLogin(activity, { id: tokens.loginId, userId: tokens.user.id })
          return redirect(returnTo, [attemptCookie('', client), ...loginCookies(tokens, client, clock.wallMs())])
        }),
    ),
  ]
}

/** The address of this core as the browser knows it. Which hosts may be asked for is checked for every request. */
function ownOrigin(publicUrl: string, { headers }: Request, { secure }: Client): string {
  if (publicUrl !== '') return publicUrl
  return `${secure ? 'https' : 'http'}://${headers.get('host') ?? 'localhost'}`
}

function redirect(location: string, setCookies: readonly string[]): Response {
  const headers = new Headers({ location, 'cache-control': 'no-store' })
  for (const cookie of setCookies) headers.append('set-cookie', cookie)
  return new Response(null, { status: 302, headers })
}

/** A page for a browser, in which the attempt is over. */
async function orPage(request: Request, client: Client, work: () => Promise<Response>): Promise<Response> {
  try {
    return await work()
  } catch (error) {
    const problem = problemOf(error)
    const headers = { ...problem.headers, 'set-cookie': attemptCookie('', client) }
    // What nobody expected goes the way on which it is logged.
    if (problem.kind === 'INTERNAL') throw error
    if (!(request.headers.get('accept') ?? '').includes('text/html')) {
      throw new Problem(problem.kind, problem.message, {
        code: problem.code,
        hint: problem.hint,
        headers,
        cause: error,
      })
    }
    return new Response(problemPage('Not logged in', problem.message, problem.hint), {
      status: problem.status,
      headers: { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store', ...headers },
    })
  }
}

function attemptCookieName({ secure }: Client): string {
  return secure ? `__Host-${ATTEMPT_COOKIE}` : ATTEMPT_COOKIE
}

/** Lax, since the browser comes back from another site. */
function attemptCookie(value: string, client: Client): string {
  const seconds = value === '' ? 0 : ATTEMPT_SECONDS
  const name = attemptCookieName(client)
  return `${name}=${value}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Lax${client.secure ? '; Secure' : ''}`
}
