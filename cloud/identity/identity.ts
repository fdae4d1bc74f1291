/** Identity: who somebody is and what they may do. */

export type { ApiKey } from './api-key.ts'
export { ApiKeys, type ApiKeysOptions, type NewApiKey } from './api-keys.ts'
export { type Authentication, LOCAL_AUTHENTICATION } from './authentication.ts'
export { type Caller, callerOf, hasRole, LOCAL_CALLER, NOBODY, withinScopes } from './caller.ts'
export { IdentityError } from './errors.ts'
export { type DerivedKey, type KeyPurpose, MasterKey, openMasterKey } from './master-key.ts'
export { type Grant, ROLES, type Role } from './roles.ts'
export { type SecurityEvent, type SecurityEventKind, SecurityEvents, type SecurityNotes } from './security-events.ts'
