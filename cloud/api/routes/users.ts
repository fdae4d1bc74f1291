/**
 * Users and their logins, over REST. Who administers certain sites sees and changes those users alone whose every role is at one
 * of these.
 */

import { Type } from '@sinclair/typebox'
import type { Identity, User } from '../../identity/identity.ts'
import { NO_SITE } from '../../registry/site-scope.ts'
import { notFound } from '../http/problem.ts'
import { type Call, defineRoute, type Reply, type Route, type SiteRule } from '../http/route.ts'
import { closed, PAGE_QUERY, pageBody, pageSchema, time } from '../schemas/common.ts'
import {
  EndedLoginsSchema,
  GrantChangesSchema,
  LoginIdSchema,
  LoginSchema,
  loginBody,
  NewUserSchema,
  PasswordLinkSchema,
  UserChangesSchema,
  UserSchema,
  userBody,
} from '../schemas/identity.ts'
import { UserIdSchema } from '../schemas/notification.ts'
import { type AuthRoutesOptions, authRoutes } from './auth.ts'

const tag = 'users'
const UserParams = Type.Object({ userId: UserIdSchema })
const LoginParams = Type.Object({ userId: UserIdSchema, id: LoginIdSchema })
const NoBody = Type.Object({}, { ...closed, $id: 'PasswordLinkRequest' })
const USER = '/api/v1/users/:userId'
const ADMIN = { role: 'admin', scope: 'site' } as const
/** An auditor sees who may do what, and changes nothing. */
const AUDITOR = { role: 'auditor', scope: 'site' } as const
const SELF = { role: 'viewer', scope: 'self' } as const

export interface IdentityRoutesOptions extends AuthRoutesOptions {
  readonly identity: AuthRoutesOptions['identity'] & Pick<Identity, 'users'>
}

/** Everything about people: logging in, and users. */
export function identityRoutes(options: IdentityRoutesOptions): Route[] {
  const { identity } = options
  return [...authRoutes(options), ...userRoutes(identity), ...changeRoutes(identity), ...loginRoutes(identity)]
}

type People = Pick<Identity, 'users' | 'logins'>

/** The service looks again in its transaction: roles may change meanwhile. */
function atUser({
  users,
}: Pick<Identity, 'users'>): SiteRule<Pick<Call<{ userId: string }, unknown, unknown>, 'params' | 'caller'>> {
  return {
    async of({ params, caller }) {
      const user = await users.get(params.userId, caller)
      return user && { needs: sitesOf(user), seen: true }
    },
    missing: ({ params }) => notFound('user', params.userId),
  }
}

function sitesOf({ grants }: User): number[] {
  if (grants.length === 0) return [NO_SITE]
  return grants.map(({ siteId }) => (siteId === 'all' ? NO_SITE : siteId))
}

function found<T>(value: T | null, userId: string): T {
  if (value === null) throw notFound('user', userId)
  return value
}

const reply = (user: User): Reply => ({ status: 200, body: userBody(user) })

function userRoutes({ users }: Pick<Identity, 'users'>): Route[] {
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/users',
        operationId: 'listUsers',
        tag,
        summary: 'Users by id: all of them, or those whose every role is at a site that you administer or audit',
        permission: AUDITOR,
        sites: 'listed',
        query: Type.Object(PAGE_QUERY, closed),
        responses: { 200: { description: 'A page of users', schema: pageSchema(UserSchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query, caller }) => ({ status: 200, body: pageBody(await users.list(query, caller), userBody) }),
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/users',
        operationId: 'createUser',
        tag,
        summary: 'Make a user',
        description:
          'Who has no password yet, and cannot log in: see password-link. You give roles at sites that you administer.',
        permission: ADMIN,
        sites: 'listed',
        body: NewUserSchema,
        idempotent: true,
        responses: { 201: { description: 'The user', schema: UserSchema } },
        problems: ['FORBIDDEN', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ body, caller, remember, activity }) => {
        activity.more({ give: body.grants })
        const made = (user: User): Reply => {
          return { status: 201, body: userBody(user), headers: { location: `/api/v1/users/${user.id}` } }
        }
        const answer =
          remember && ((user: User, transaction: Parameters<typeof remember>[1]) => remember(made(user), transaction))
        return made(await users.create(body, caller, answer))
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: USER,
        operationId: 'getUser',
        tag,
        summary: 'One user',
        permission: AUDITOR,
        sites: atUser({ users }),
        params: UserParams,
        responses: { 200: { description: 'The user', schema: UserSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { userId }, caller }) => reply(found(await users.get(userId, caller), userId)),
    ),
  ]
}

function changeRoutes({ users }: Pick<Identity, 'users'>): Route[] {
  return [
    defineRoute(
      {
        method: 'PATCH',
        path: USER,
        operationId: 'changeUser',
        tag,
        summary: 'Change a user',
        description:
          'Who is disabled is logged out everywhere. The last who can administer everything stays so, and nobody gives roles ' +
          'to themselves.',
        permission: ADMIN,
        sites: atUser({ users }),
        params: UserParams,
        body: UserChangesSchema,
        responses: { 200: { description: 'The user as it is now', schema: UserSchema } },
        problems: ['NOT_FOUND', 'FORBIDDEN', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ params: { userId }, body, caller, activity }) => {
        if (body.status !== undefined) activity.more({ userStatus: body.status })
        return reply(found(await users.change(userId, body, caller), userId))
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: `${USER}/grants`,
        operationId: 'changeGrants',
        tag,
        summary: 'Give and take roles',
        description: 'A role that the user has already, or does not have, is no error.',
        permission: ADMIN,
        sites: atUser({ users }),
        params: UserParams,
        body: GrantChangesSchema,
        responses: { 200: { description: 'The user as it is now', schema: UserSchema } },
        problems: ['NOT_FOUND', 'FORBIDDEN', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ params: { userId }, body: { give = [], take = [] }, caller, activity }) => {
        activity.more({ give, take })
        return reply(found(await users.grant(userId, { give, take }, caller), userId))
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: `${USER}/password-link`,
        operationId: 'makePasswordLink',
        tag,
        summary: 'A link by which the user chooses a password, once',
        description:
          'The answer is the only one that holds it, so it takes no idempotency key; the link before is void. Hand it over in ' +
          'person: whoever has it becomes that user. For people, not for API keys; it is good while you administer the user.',
        permission: ADMIN,
        sites: atUser({ users }),
        params: UserParams,
        body: NoBody,
        bodyOptional: true,
        responses: { 201: { description: 'The link', schema: PasswordLinkSchema } },
        problems: ['NOT_FOUND', 'FORBIDDEN', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ params: { userId }, caller }) => {
        const { token, expiresAtMs } = found(await users.passwordLink(userId, caller), userId)
        return { status: 201, body: { token, expiresAt: time(expiresAtMs) } }
      },
    ),
  ]
}

function loginRoutes({ users, logins }: People): Route[] {
  return [
    defineRoute(
      {
        method: 'GET',
        path: `${USER}/logins`,
        operationId: 'listLogins',
        tag,
        summary: 'Where you are logged in, the newest first',
        permission: SELF,
        params: UserParams,
        query: Type.Object(PAGE_QUERY, closed),
        responses: { 200: { description: 'A page of logins', schema: pageSchema(LoginSchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ params: { userId }, query, caller }) => {
        return { status: 200, body: pageBody(await logins.list(userId, query), (login) => loginBody(login, caller)) }
      },
    ),
    defineRoute(
      {
        method: 'DELETE',
        path: `${USER}/logins/:id`,
        operationId: 'endLogin',
        tag,
        summary: 'End one of your logins',
        permission: SELF,
        params: LoginParams,
        responses: { 204: { description: 'Ended' } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { userId, id } }) => {
        if (!(await logins.endOwn(userId, id))) throw notFound('login', id)
        return new Response(null, { status: 204, headers: { 'cache-control': 'no-store' } })
      },
    ),
    defineRoute(
      {
        method: 'DELETE',
        path: `${USER}/logins`,
        operationId: 'endLogins',
        tag,
        summary: 'End all logins of a user',
        permission: ADMIN,
        sites: atUser({ users }),
        params: UserParams,
        responses: { 200: { description: 'Ended', schema: EndedLoginsSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { userId }, caller }) => {
        return { status: 200, body: { ended: found(await users.endLogins(userId, caller), userId) } }
      },
    ),
  ]
}
