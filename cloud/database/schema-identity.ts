/** The tables of who may do what; see schema.ts for what they have in common. */

import type { ColumnType } from 'kysely'

type Immutable<T> = ColumnType<T, T, never>

export interface UsersTable {
  id: Immutable<string>
  name: string | null
  email: string | null
  /** argon2id in PHC form; null for those who log in elsewhere, or have not chosen a password yet. */
  password_hash: string | null
  /** `active` or `disabled`. */
  status: string
  /** `issuer subject` of the identity provider. */
  oidc_subject: string | null
  created_at_ms: Immutable<number>
  updated_at_ms: number
  last_login_at_ms: number | null
}

export interface UserGrantsTable {
  user_id: Immutable<string>
  role: Immutable<string>
  /** 0 for every site, those to come included. */
  site_id: Immutable<number>
}

export interface LoginSessionsTable {
  id: Immutable<string>
  user_id: Immutable<string>
  /** `password` or `oidc`. */
  method: Immutable<string>
  address: Immutable<string | null>
  user_agent: Immutable<string | null>
  created_at_ms: Immutable<number>
  refreshed_at_ms: number
  /** Until when its newest access token is good. */
  access_expires_at_ms: number
  expires_at_ms: number
  revoked_at_ms: number | null
  revoked_reason: string | null
}

export interface RefreshTokensTable {
  secret_hash: Immutable<string>
  session_id: Immutable<string>
  created_at_ms: Immutable<number>
  used_at_ms: number | null
}

export interface LoginFailuresTable {
  /** `user:<id>` or `address:<ip>`. */
  subject: Immutable<string>
  failures: number
  failed_at_ms: number
  locked_until_ms: number
}

export interface OneTimeLinksTable {
  secret_hash: Immutable<string>
  /** `setup` makes the first administrator, `password` lets a user choose one. */
  purpose: Immutable<string>
  user_id: Immutable<string | null>
  made_by: Immutable<string | null>
  created_at_ms: Immutable<number>
  expires_at_ms: number
  used_at_ms: number | null
}

export interface ApiKeysTable {
  id: Immutable<string>
  name: string
  secret_hash: Immutable<string>
  /** JSON list such as ["telemetry:read"]. */
  scopes: Immutable<string>
  created_by: Immutable<string>
  created_at_ms: Immutable<number>
  expires_at_ms: Immutable<number | null>
  last_used_at_ms: number | null
  revoked_at_ms: number | null
}

export interface ApiKeyGrantsTable {
  key_id: Immutable<string>
  role: Immutable<string>
  site_id: Immutable<number>
}

export interface CertificateAuthoritiesTable {
  id: Immutable<string>
  certificate_pem: Immutable<string>
  /** Encrypted under the master key. */
  sealed_key: string
  created_at_ms: Immutable<number>
}

export interface EnrolmentTokensTable {
  id: Immutable<string>
  secret_hash: Immutable<string>
  gateway_id: Immutable<string>
  created_by: Immutable<string>
  created_at_ms: Immutable<number>
  expires_at_ms: Immutable<number>
  revoked_at_ms: number | null
  redeemed_at_ms: number | null
  redeemed_from: string | null
  /** SHA-256 of the public key that redeemed it: the same gateway may ask again when the answer was lost. */
  redeemed_key: string | null
}

/** The sites that a gateway may speak for. */
export interface GatewaySitesTable {
  gateway_id: Immutable<string>
  site_id: Immutable<number>
}

export interface GatewayCertificatesTable {
  /** SHA-256 of the certificate, lower-case hexadecimal: serials of other authorities may meet. */
  fingerprint: Immutable<string>
  /** Lower-case hexadecimal without leading zeros. */
  serial: Immutable<string>
  gateway_id: Immutable<string>
  /** SHA-256 of its public key, lower-case hexadecimal. */
  key_hash: Immutable<string>
  certificate_pem: Immutable<string>
  /** `enrolment`, `renewal` or `recovery`; `elsewhere` for one that the gateway brought. */
  issued_for: Immutable<string>
  issued_at_ms: Immutable<number>
  not_before_ms: Immutable<number>
  not_after_ms: Immutable<number>
  revoked_at_ms: number | null
  revoked_reason: string | null
  revoked_by: string | null
}

/** What waits, or waited, for a second person. */
export interface ApprovalsTable {
  id: Immutable<string>
  /** `command`, `task` or `task-retry`. */
  kind: Immutable<string>
  command_type: Immutable<string>
  /** What is to be done, as JSON: the body of the request. */
  request: Immutable<string>
  requested_by: Immutable<string>
  created_at_ms: Immutable<number>
  expires_at_ms: Immutable<number>
  /** `PENDING`, `APPROVED`, `REJECTED`, `EXPIRED` or `WITHDRAWN`. */
  state: string
  decided_by: string | null
  decided_at_ms: number | null
  note: string | null
  /** Of the command or task that came of it. */
  result_id: string | null
}

export interface ApprovalSitesTable {
  approval_id: Immutable<string>
  site_id: Immutable<number>
}

/** The sites of a task's devices. */
export interface TaskSitesTable {
  task_id: Immutable<string>
  site_id: Immutable<number>
}

export interface IdentityTables {
  users: UsersTable
  user_grants: UserGrantsTable
  login_sessions: LoginSessionsTable
  refresh_tokens: RefreshTokensTable
  login_failures: LoginFailuresTable
  one_time_links: OneTimeLinksTable
  api_keys: ApiKeysTable
  api_key_grants: ApiKeyGrantsTable
  certificate_authorities: CertificateAuthoritiesTable
  enrolment_tokens: EnrolmentTokensTable
  gateway_sites: GatewaySitesTable
  gateway_certificates: GatewayCertificatesTable
  approvals: ApprovalsTable
  approval_sites: ApprovalSitesTable
  task_sites: TaskSitesTable
}
