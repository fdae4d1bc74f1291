/**
 * Logging in and out, over REST. None of these takes an idempotency key: an answer with a secret in it would be kept, and a login
 * sent twice is two logins, of which one is never used.
 */

import type { Clock } from '../../../shared/clock.ts'
import { type Caller, type Identity, IdentityError, type LoginTokens } from '../../identity/identity.ts'
import type { ActivityNote } from '../http/activity.ts'
import { loginCookies, noCookies, refreshCookie } from '../http/cookies.ts'
import { noteLogin } from '../http/login-note.ts'
import { Problem } from '../http/problem.ts'
import { type Client, defineRoute, type Reply, type Route } from '../http/route.ts'
import { invalidInput } from '../http/validation.ts'
import {
  CredentialsSchema,
  LoggedInSchema,
  loggedInBody,
  MeSchema,
  meBody,
  NewPasswordSchema,
  PasswordChosenSchema,
  RefreshSchema,
  SetupSchema,
  UserSchema,
  userBody,
} from '../schemas/identity.ts'

const tag = 'auth'
const AUTH = '/api/v1/auth'

export interface AuthRoutesOptions {
  readonly identity: Pick<Identity, 'logins' | 'passwordLogins' | 'setup'>
  readonly clock: Clock
}

export function authRoutes({ identity, clock }: AuthRoutesOptions): Route[] {
  return [...loginRoutes({ identity, clock }), ...passwordRoutes(identity), meRoute()]
}

function loginRoutes({ identity: { logins, passwordLogins }, clock }: AuthRoutesOptions): Route[] {
  const loggedIn = (tokens: LoginTokens, by: 'cookies' | 'body', client: Client): Response => {
    const setCookies = by === 'cookies' ? loginCookies(tokens, client, clock.wallMs()) : []
    return answer(200, loggedInBody(tokens, by === 'body'), setCookies)
  }
  return [
    defineRoute(
      {
        method: 'POST',
        path: `${AUTH}/login`,
        operationId: 'logIn',
        tag,
        summary: 'Log in with a password',
        description:
          'The answer does not tell a user who does not exist from a wrong password. After several wrong ones the user, or ' +
          'the address, waits: 429 with Retry-After, also for the right one. With cookies the answer holds no tokens.',
        permission: 'none',
        body: CredentialsSchema,
        activity: 'login',
        responses: { 200: { description: 'Logged in', schema: LoggedInSchema } },
        problems: ['UNAUTHENTICATED', 'TOO_MANY_REQUESTS', 'UNAVAILABLE'],
      },
      async ({ body, request, client, activity }) => {
        const { userId, password, cookies = false } = body
        const userAgent = request.headers.get('user-agent')
        try {
          const tokens = await passwordLogins.login(userId, password, { address: client.address, userAgent })
          noteLogin(activity, { id: tokens.loginId, userId: tokens.user.id })
          return loggedIn(tokens, cookies ? 'cookies' : 'body', client)
        } catch (error) {
          // Under no name that is nobody's: people type passwords there.
          if (await passwordLogins.isUser(userId)) activity.by(userId)
          throw error
        }
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: `${AUTH}/refresh`,
        operationId: 'refreshLogin',
        tag,
        summary: 'New tokens for a refresh token, which is good once',
        description:
          'A refresh token that comes a second time, even from the same program, ends the login: one of the two senders ' +
          'stole it. Send it from one place at a time.',
        permission: 'none',
        body: RefreshSchema,
        bodyOptional: true,
        activity: 'login_refreshed',
        responses: { 200: { description: 'Refreshed', schema: LoggedInSchema } },
        problems: ['UNAUTHENTICATED', 'UNAVAILABLE'],
      },
      async ({ body, request, client, activity }) => {
        const refreshed = async (token: string): Promise<LoginTokens> => {
          const tokens = await logins.refresh(token, client.address)
          noteLogin(activity, { id: tokens.loginId, userId: tokens.user.id })
          return tokens
        }
        const given = body.refreshToken
        if (given !== undefined) return loggedIn(await refreshed(given), 'body', client)
        try {
          return loggedIn(await refreshed(refreshCookie(request, client) ?? ''), 'cookies', client)
        } catch (error) {
          if (error instanceof IdentityError) throw forgetting(error, client)
          throw error
        }
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: `${AUTH}/logout`,
        operationId: 'logOut',
        tag,
        summary: 'End the login',
        description:
          'That of the access token, of the refresh token, or of the cookies. One that has ended is no error.',
        permission: 'none',
        body: RefreshSchema,
        bodyOptional: true,
        activity: 'logout',
        responses: { 204: { description: 'Logged out' } },
        problems: ['UNAVAILABLE'],
      },
      async ({ body, request, caller, client, activity }) => {
        const token = body.refreshToken ?? refreshCookie(request, client)
        const ended = token === null ? null : await logins.endByToken(token)
        if (ended !== null) noteLogin(activity, ended)
        else activity.about('login', caller.credentialId)
        if (caller.kind === 'user' && caller.credentialId !== null) await logins.end(caller.credentialId, 'logged out')
        return answer(204, null, noCookies(client))
      },
    ),
  ]
}

function passwordRoutes({ passwordLogins, setup }: AuthRoutesOptions['identity']): Route[] {
  return [
    defineRoute(
      {
        method: 'POST',
        path: `${AUTH}/setup`,
        operationId: 'setUp',
        tag,
        summary: 'Make the first administrator',
        description: 'With the link that the first start prints. The first that is used voids all others.',
        permission: 'none',
        body: SetupSchema,
        responses: { 201: { description: 'The administrator, who can log in now', schema: UserSchema } },
        problems: ['UNAUTHENTICATED', 'CONFLICT', 'TOO_MANY_REQUESTS', 'UNAVAILABLE'],
      },
      async ({ body, client, activity }) => {
        activity.about('user', null)
        const user = await setup.setUp(body, client.address)
        noteUser(activity, user.id)
        return { status: 201, body: userBody(user) }
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: `${AUTH}/password`,
        operationId: 'choosePassword',
        tag,
        summary: 'Choose a password',
        description:
          'By a link that an administrator made, or, for whoever is logged in, by the current password. All other logins of ' +
          'that user end.',
        permission: 'none',
        body: NewPasswordSchema,
        responses: { 200: { description: 'Chosen', schema: PasswordChosenSchema } },
        problems: ['UNAUTHENTICATED', 'FORBIDDEN', 'TOO_MANY_REQUESTS', 'UNAVAILABLE'],
      },
      async ({ body, caller, client, activity }): Promise<Reply> => {
        const { token, currentPassword, password } = body
        activity.about('user', caller.id || null)
        if ((token === undefined) === (currentPassword === undefined)) {
          throw invalidInput([{ in: 'body', pointer: '', remedy: 'either token or currentPassword' }])
        }
        if (token !== undefined) {
          const userId = await passwordLogins.choose(token, password, client.address)
          noteUser(activity, userId)
          return { status: 200, body: { userId } }
        }
        await passwordLogins.change(requireUser(caller), currentPassword as string, password, client.address)
        return { status: 200, body: { userId: caller.id } }
      },
    ),
  ]
}

function meRoute(): Route {
  return defineRoute(
    {
      method: 'GET',
      path: `${AUTH}/me`,
      operationId: 'whoAmI',
      tag,
      summary: 'Who is asking, and what they may do',
      // Whoever has no role yet may know that.
      permission: 'none',
      login: 'required',
      responses: { 200: { description: 'You', schema: MeSchema } },
      problems: ['UNAUTHENTICATED', 'UNAVAILABLE'],
    },
    ({ caller }) => ({ status: 200, body: meBody(caller) }),
  )
}

/** Who has come by a link, and chosen a password of their own. */
function noteUser(activity: ActivityNote, userId: string): void {
  activity.by(userId)
  activity.about('user', userId)
}

function requireUser(caller: Caller): Caller {
  // Who has no credential has no name either.
  if (caller.id === '') {
    throw new IdentityError('UNAUTHENTICATED', 'Nobody is logged in.', { hint: `Log in: POST ${AUTH}/login.` })
  }
  if (caller.kind === 'user') return caller
  throw new IdentityError('FORBIDDEN', 'This is for people who are logged in.', {
    hint: 'Log in as the user whose password it is.',
  })
}

/** The browser need not show again what is no longer good. */
function forgetting(error: IdentityError, client: Client): Problem {
  const [, refresh = ''] = noCookies(client)
  const headers = { 'set-cookie': refresh, 'www-authenticate': 'Bearer' }
  return new Problem(error.refusal, error.message, { code: error.code, hint: error.hint, headers, cause: error })
}

function answer(status: number, body: unknown, setCookies: readonly string[]): Response {
  const headers = new Headers({ 'cache-control': 'no-store' })
  if (body !== null) headers.set('content-type', 'application/json')
  for (const cookie of setCookies) headers.append('set-cookie', cookie)
  return new Response(body === null ? null : JSON.stringify(body), { status, headers })
}
