/** Settings of logins, of the certificates of gateways, and of what needs a second person. */

import { count, file, flag, list, milliseconds, secretText, section, table, text } from '../shared/config/keys.ts'

export const identity = section('Who may do what.', {
  masterKeyFile: text(
    './data/master.key',
    'Key that signs logins and seals the key of the certificate authority: 32 random bytes or more in base64, one key a ' +
      'line, the first for what is new and all for what is there. Made at the first start when it does not exist; ' +
      'cores that share a database share it',
    'the path of a file that nobody else may read',
  ),
  accessTokenMs: milliseconds(600_000, [5_000, 86_400_000], 'How long an access token is good'),
  refreshTokenDays: count(14, [1, 365], 'days', 'How long a login lasts that is not used'),
  loginDaysMax: count(90, [1, 3_650], 'days', 'How long a login lasts at most'),
  recheckMs: milliseconds(
    5_000,
    [100, 600_000],
    'How long a role that was taken, or a login that was ended, may go unnoticed by another core, and by an open WebSocket',
  ),
  passwordLengthMin: count(12, [8, 128], 'characters', 'Shortest password'),
  passwordMemoryKiB: count(19_456, [64, 1_048_576], 'KiB', 'Memory of one argon2id hash'),
  passwordChecksMax: count(
    4,
    [1, 64],
    'checks',
    'Passwords checked at one time; further logins wait, and beyond ten times as many are answered 429',
  ),
  loginFailuresMax: count(5, [1, 1_000], 'failures', 'Wrong passwords in a row until a user is locked out for a while'),
  addressFailuresMax: count(
    50,
    [1, 100_000],
    'failures',
    'Wrong passwords from one address until it is locked out for a while',
  ),
  lockoutMs: milliseconds(
    60_000,
    [1_000, 86_400_000],
    'How long the first lockout lasts; each further one is twice as long',
  ),
  lockoutMaxMs: milliseconds(3_600_000, [1_000, 604_800_000], 'How long a lockout lasts at most'),
  setupLinkHours: count(24, [1, 720], 'hours', 'How long a link to set up, or to choose a password, is good'),
  oidc: section('Login at an identity provider (OpenID Connect); without an issuer there is none.', {
    issuer: text('', 'Issuer, as its discovery document says', 'an https URL', '^(https?://.+)?$'),
    clientId: text('', 'Client id of Busbar there'),
    clientSecret: secretText('', 'Client secret', 'a string'),
    scope: text('openid profile email', 'Scopes to ask for'),
    userClaim: text('preferred_username', 'Claim that names the user here'),
    rolesClaim: text('groups', 'Claim that lists the groups of a user'),
    roles: table(
      {},
      'What a group may do; on every login the user gets what their groups give, and nothing else',
      'roles by group, such as operators = "operator@1 operator@2" or admins = "admin"; a role without sites is for all',
    ),
    insecure: flag(false, 'Take an issuer without TLS, on loopback only: for a try'),
  }),
})

export const authority = section('Certificates of gateways.', {
  certFile: file(
    'Certificate of an authority of your own that signs for gateways, with its chain, PEM; none means that Busbar makes one',
  ),
  keyFile: file(
    'Private key of that certificate, PEM; when only certFile is set, gateways bring certificates made elsewhere',
  ),
  gatewayDays: count(
    90,
    [1, 3_650],
    'days',
    'How long a certificate of a gateway is good; it renews itself after two thirds',
  ),
  graceDays: count(
    30,
    [0, 3_650],
    'days',
    'How long after its end a certificate can still be renewed with its key; later the gateway needs a new token',
  ),
  tokenHours: count(24, [1, 720], 'hours', 'How long an enrolment token is good where the request does not say'),
  recheckMs: milliseconds(2_000, [100, 600_000], 'How long a revocation may go unnoticed by a stream on another core'),
})

export const approvals = section('Commands that need a second person.', {
  commandTypes: list([], 'Command types that nobody may give alone', 'command types such as "REMOTE_DISCONNECT"'),
  expiryMs: milliseconds(3_600_000, [1_000, 604_800_000], 'How long a request waits for the second person'),
})
