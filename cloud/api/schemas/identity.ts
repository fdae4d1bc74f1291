/** Users and logins as the API shows and takes them. */

import { Type } from '@sinclair/typebox'
import {
  type Caller,
  EMAIL_PATTERN,
  GRANTS_MAX,
  type Grant,
  type Login,
  type LoginTokens,
  ROLES,
  USER_STATUSES,
  type User,
} from '../../identity/identity.ts'
import { closed, NameSchema, nullable, TimeSchema, time, timeOrNull } from './common.ts'
import { GrantSchema } from './grant.ts'
import { UserIdSchema } from './notification.ts'

/** What a link holds, and nobody guesses. Values beside one that is `writeOnly` are not repeated in answers. */
const TokenSchema = Type.String({ minLength: 1, maxLength: 200, writeOnly: true })
/** What it may be is checked where nothing of a wrong one is repeated in the answer. */
const PasswordSchema = Type.String({
  writeOnly: true,
  description: 'identity.passwordLengthMin characters or more, up to 1,024 bytes',
})
const EmailSchema = Type.String({ maxLength: 254, pattern: EMAIL_PATTERN.source, description: 'An e-mail address' })
const StatusSchema = Type.Union(
  USER_STATUSES.map((status) => Type.Literal(status)),
  { description: 'Who is disabled cannot log in, and stays in what is recorded' },
)
const GrantsSchema = Type.Array(GrantSchema, { maxItems: GRANTS_MAX })

export const UserSchema = Type.Object(
  {
    id: UserIdSchema,
    name: nullable(NameSchema),
    email: nullable(EmailSchema),
    status: StatusSchema,
    grants: Type.Array(GrantSchema, { description: 'What the user may do where' }),
    hasPassword: Type.Boolean({ description: 'Whether there is a password to log in with' }),
    oidcSubject: nullable(Type.String({ description: 'Issuer and subject at the identity provider' })),
    createdAt: TimeSchema,
    updatedAt: TimeSchema,
    lastLoginAt: nullable(TimeSchema),
  },
  { ...closed, $id: 'User', description: 'A person who may log in' },
)

export const NewUserSchema = Type.Object(
  {
    id: UserIdSchema,
    name: Type.Optional(nullable(NameSchema)),
    email: Type.Optional(nullable(EmailSchema)),
    grants: GrantsSchema,
  },
  { ...closed, $id: 'NewUser' },
)

export const UserChangesSchema = Type.Object(
  {
    name: Type.Optional(nullable(NameSchema)),
    email: Type.Optional(nullable(EmailSchema)),
    status: Type.Optional(StatusSchema),
    grants: Type.Optional({ ...GrantsSchema, description: 'Instead of those there are' }),
  },
  { ...closed, minProperties: 1, $id: 'UserChanges' },
)

export const GrantChangesSchema = Type.Object(
  { give: Type.Optional(GrantsSchema), take: Type.Optional(GrantsSchema) },
  { ...closed, minProperties: 1, $id: 'GrantChanges' },
)

export const PasswordLinkSchema = Type.Object(
  { token: Type.String({ description: 'For POST /api/v1/auth/password; shown this once' }), expiresAt: TimeSchema },
  { ...closed, $id: 'PasswordLink', description: 'Lets a user choose a password, once' },
)

export const EndedLoginsSchema = Type.Object(
  { ended: Type.Integer({ minimum: 0, description: 'Logins' }) },
  { ...closed, $id: 'EndedLogins' },
)

export const LoginIdSchema = Type.String({ pattern: '^[0-9a-f]{32}$', description: '32 hexadecimal digits' })

export const LoginSchema = Type.Object(
  {
    id: LoginIdSchema,
    method: Type.Union([Type.Literal('password'), Type.Literal('oidc')]),
    address: nullable(Type.String()),
    userAgent: nullable(Type.String()),
    createdAt: TimeSchema,
    refreshedAt: TimeSchema,
    expiresAt: { ...TimeSchema, description: 'When it ends if it is not refreshed' },
    current: Type.Boolean({ description: 'It is the one that this is asked with' }),
  },
  { ...closed, $id: 'Login', description: 'Somebody logged in, on one device' },
)

export const CredentialsSchema = Type.Object(
  {
    userId: UserIdSchema,
    password: Type.String({ writeOnly: true }),
    cookies: Type.Optional(
      Type.Boolean({ default: false, description: 'For browsers: the tokens come in cookies that no script can read' }),
    ),
  },
  { ...closed, $id: 'Credentials' },
)

export const RefreshSchema = Type.Object(
  { refreshToken: Type.Optional({ ...TokenSchema, description: 'Absent where it is in a cookie' }) },
  { ...closed, $id: 'Refresh' },
)

export const LoggedInSchema = Type.Object(
  {
    loginId: LoginIdSchema,
    accessToken: Type.Optional(Type.String({ description: 'A bearer token; absent where it is in a cookie' })),
    expiresAt: { ...TimeSchema, description: 'When the access token ends; refresh before' },
    refreshToken: Type.Optional(Type.String({ description: 'Good once; absent where it is in a cookie' })),
    refreshExpiresAt: { ...TimeSchema, description: 'When the login ends if it is not refreshed' },
    user: UserSchema,
  },
  { ...closed, $id: 'LoggedIn' },
)

export const SetupSchema = Type.Object(
  {
    token: { ...TokenSchema, description: 'From the link that the first start prints' },
    userId: UserIdSchema,
    password: PasswordSchema,
    name: Type.Optional(nullable(NameSchema)),
  },
  { ...closed, $id: 'Setup' },
)

export const NewPasswordSchema = Type.Object(
  {
    token: Type.Optional({ ...TokenSchema, description: 'From a link that an administrator made' }),
    currentPassword: Type.Optional(
      Type.String({ writeOnly: true, description: 'Instead of a token, of whoever is logged in' }),
    ),
    password: PasswordSchema,
  },
  { ...closed, $id: 'NewPassword', description: 'Either token or currentPassword' },
)

export const PasswordChosenSchema = Type.Object({ userId: UserIdSchema }, { ...closed, $id: 'PasswordChosen' })

export const MeSchema = Type.Object(
  {
    id: Type.String({ description: 'Under which what you do is recorded' }),
    kind: Type.Union([Type.Literal('user'), Type.Literal('api-key'), Type.Literal('local')]),
    loginId: nullable(Type.String({ description: 'Of the login, or of the API key' })),
    grants: Type.Array(GrantSchema, { description: 'Every role that you have, those within others included' }),
    scopes: nullable(Type.Array(Type.String(), { description: 'What an API key is limited to; null for no limit' })),
  },
  { ...closed, $id: 'Me', description: 'Who is asking' },
)

export function userBody(user: User) {
  return {
    id: user.id,
    name: user.name,
    email: user.email,
    status: user.status,
    grants: user.grants,
    hasPassword: user.hasPassword,
    oidcSubject: user.oidcSubject,
    createdAt: time(user.createdAtMs),
    updatedAt: time(user.updatedAtMs),
    lastLoginAt: timeOrNull(user.lastLoginAtMs),
  }
}

export function loginBody(login: Login, caller: Caller) {
  return {
    id: login.id,
    method: login.method,
    address: login.address,
    userAgent: login.userAgent,
    createdAt: time(login.createdAtMs),
    refreshedAt: time(login.refreshedAtMs),
    expiresAt: time(login.expiresAtMs),
    current: login.id === caller.credentialId,
  }
}

/** @param shown whether the tokens are in the body, and not in cookies. */
export function loggedInBody(tokens: LoginTokens, shown: boolean) {
  const { loginId, accessToken, refreshToken, expiresAtMs, refreshExpiresAtMs, user } = tokens
  return {
    loginId,
    ...(shown ? { accessToken, refreshToken } : {}),
    expiresAt: time(expiresAtMs),
    refreshExpiresAt: time(refreshExpiresAtMs),
    user: userBody(user),
  }
}

export function meBody(caller: Caller) {
  const grants = ROLES.flatMap((role): Grant[] => {
    const sites = caller.sites(role)
    if (sites === 'all') return [{ role, siteId: 'all' }]
    return [...sites].sort((a, b) => a - b).map((siteId) => ({ role, siteId }))
  })
  const { id, kind, credentialId, scopes } = caller
  return { id, kind, loginId: credentialId, grants, scopes: scopes === null ? null : [...scopes].sort() }
}
