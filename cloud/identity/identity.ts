/** Identity: who somebody is and what they may do. */

export { type ApiKey, KEY_CALLER } from './api-key.ts'
export { ApiKeys, type NewApiKey } from './api-keys.ts'
export { type Authentication, LOCAL_AUTHENTICATION } from './authentication.ts'
export { type Caller, callerOf, hasRole, LOCAL_CALLER, NOBODY, withinScopes } from './caller.ts'
export { IdentityError } from './errors.ts'
export { Identity, type IdentityOptions, type IdentitySettings } from './identity-service.ts'
export type { Login } from './login-store.ts'
export type { LoginTokens } from './logins.ts'
export { type DerivedKey, MasterKey, openMasterKey, readKeys } from './master-key.ts'
export { OidcLogins, type OidcSettings } from './oidc.ts'
export { overseers } from './overseers.ts'
export {
  type Asker,
  PEOPLE_SEARCH_CHARS_MAX,
  People,
  type PeopleDirectory,
  type PeopleRequest,
  type Person,
  readPeopleRequest,
} from './people.ts'
export { type Grant, ROLES, type Role, sitesWith } from './roles.ts'
export { type SecurityEvent, type SecurityEventKind, SecurityEvents, type SecurityNotes } from './security-events.ts'
export { sitesSeen } from './seen-sites.ts'
export { EMAIL_PATTERN, GRANTS_MAX, USER_STATUSES, type User } from './user.ts'
