/** Who may do what: people, their logins, programs' keys, the certificates of gateways, and what waits for a second person. */

import { type CreateTableBuilder, type SchemaModule, sql } from 'kysely'
import type { Migration } from '../migrate.ts'

export const identity: Migration = {
  number: 4,
  name: 'identity',
  async up(schema, _dialect, transaction) {
    await createPeople(schema)
    await createPrograms(schema)
    await createGateways(schema)
    await createApprovals(schema)
    // Of the tasks that were there before.
    await sql`
      insert into task_sites (task_id, site_id)
      select distinct task_id, site_id from task_devices where site_id is not null`.execute(transaction)
  },
}

async function createPeople(schema: SchemaModule): Promise<void> {
  await schema
    .createTable('users')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('name', 'text')
    .addColumn('email', 'text')
    // argon2id in PHC form; null for those who log in elsewhere, or have not chosen a password yet.
    .addColumn('password_hash', 'text')
    .addColumn('status', 'text', (column) => column.notNull())
    // `issuer subject` of the identity provider.
    .addColumn('oidc_subject', 'text', (column) => column.unique())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('last_login_at_ms', 'bigint')
    .execute()
  await grants(schema.createTable('user_grants').addColumn('user_id', 'text', (column) => column.notNull()))
    .addPrimaryKeyConstraint('user_grants_key', ['user_id', 'role', 'site_id'])
    .execute()
  await schema
    .createTable('login_sessions')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('user_id', 'text', (column) => column.notNull())
    .addColumn('method', 'text', (column) => column.notNull())
    .addColumn('address', 'text')
    .addColumn('user_agent', 'text')
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('refreshed_at_ms', 'bigint', (column) => column.notNull())
    // Until when its newest access token is good: who holds a socket refreshes before.
    .addColumn('access_expires_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('revoked_at_ms', 'bigint')
    .addColumn('revoked_reason', 'text')
    .execute()
  await schema.createIndex('login_sessions_user').on('login_sessions').columns(['user_id', 'created_at_ms']).execute()
  await schema
    .createTable('refresh_tokens')
    .addColumn('secret_hash', 'text', (column) => column.primaryKey())
    .addColumn('session_id', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    // A second use of the same token says that it was stolen.
    .addColumn('used_at_ms', 'bigint')
    .execute()
  await schema.createIndex('refresh_tokens_session').on('refresh_tokens').column('session_id').execute()
  await schema
    .createTable('login_failures')
    // `user:<id>` or `address:<ip>`.
    .addColumn('subject', 'text', (column) => column.primaryKey())
    .addColumn('failures', 'integer', (column) => column.notNull())
    .addColumn('failed_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('locked_until_ms', 'bigint', (column) => column.notNull())
    .execute()
  await schema
    .createTable('one_time_links')
    .addColumn('secret_hash', 'text', (column) => column.primaryKey())
    // `setup` makes the first administrator, `password` lets a user choose one.
    .addColumn('purpose', 'text', (column) => column.notNull())
    .addColumn('user_id', 'text')
    // Who must still administer the user when it is used; null where nobody needs to.
    .addColumn('made_by', 'text')
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('used_at_ms', 'bigint')
    .execute()
}

async function createPrograms(schema: SchemaModule): Promise<void> {
  await schema
    .createTable('api_keys')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('secret_hash', 'text', (column) => column.notNull())
    // JSON list such as ["telemetry:read"].
    .addColumn('scopes', 'text', (column) => column.notNull())
    .addColumn('created_by', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('expires_at_ms', 'bigint')
    .addColumn('last_used_at_ms', 'bigint')
    .addColumn('revoked_at_ms', 'bigint')
    .execute()
  await grants(schema.createTable('api_key_grants').addColumn('key_id', 'text', (column) => column.notNull()))
    .addPrimaryKeyConstraint('api_key_grants_key', ['key_id', 'role', 'site_id'])
    .execute()
}

/** A role at a site; site 0 stands for every site, those to come included. */
function grants<T extends string, C extends string>(table: CreateTableBuilder<T, C>) {
  return table
    .addColumn('role', 'text', (column) => column.notNull())
    .addColumn('site_id', 'integer', (column) => column.notNull())
}

async function createGateways(schema: SchemaModule): Promise<void> {
  await schema
    .createTable('certificate_authorities')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('certificate_pem', 'text', (column) => column.notNull())
    // Encrypted under the master key.
    .addColumn('sealed_key', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .execute()
  await schema
    .createTable('enrolment_tokens')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('secret_hash', 'text', (column) => column.notNull())
    .addColumn('gateway_id', 'text', (column) => column.notNull())
    .addColumn('created_by', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('revoked_at_ms', 'bigint')
    .addColumn('redeemed_at_ms', 'bigint')
    .addColumn('redeemed_from', 'text')
    // SHA-256 of the public key that redeemed it: the same gateway may ask again when the answer was lost.
    .addColumn('redeemed_key', 'text')
    .execute()
  await schema.createIndex('enrolment_tokens_gateway').on('enrolment_tokens').column('gateway_id').execute()
  await schema
    .createTable('gateway_sites')
    .addColumn('gateway_id', 'text', (column) => column.notNull())
    .addColumn('site_id', 'integer', (column) => column.notNull())
    .addPrimaryKeyConstraint('gateway_sites_key', ['gateway_id', 'site_id'])
    .execute()
  await schema.createIndex('gateway_sites_site').on('gateway_sites').column('site_id').execute()
  await schema
    .createTable('gateway_certificates')
    // SHA-256 of the certificate, lower-case hexadecimal: serials of other authorities may meet.
    .addColumn('fingerprint', 'text', (column) => column.primaryKey())
    // Lower-case hexadecimal without leading zeros.
    .addColumn('serial', 'text', (column) => column.notNull())
    .addColumn('gateway_id', 'text', (column) => column.notNull())
    .addColumn('key_hash', 'text', (column) => column.notNull())
    .addColumn('certificate_pem', 'text', (column) => column.notNull())
    // `enrolment`, `renewal` or `recovery`; `elsewhere` for one that the gateway brought.
    .addColumn('issued_for', 'text', (column) => column.notNull())
    .addColumn('issued_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('not_before_ms', 'bigint', (column) => column.notNull())
    .addColumn('not_after_ms', 'bigint', (column) => column.notNull())
    .addColumn('revoked_at_ms', 'bigint')
    .addColumn('revoked_reason', 'text')
    .addColumn('revoked_by', 'text')
    .execute()
  await schema
    .createIndex('gateway_certificates_gateway')
    .on('gateway_certificates')
    .columns(['gateway_id', 'issued_at_ms'])
    .execute()
  await schema.createIndex('gateway_certificates_key').on('gateway_certificates').column('key_hash').execute()
}

async function createApprovals(schema: SchemaModule): Promise<void> {
  await schema
    .createTable('approvals')
    .addColumn('id', 'text', (column) => column.primaryKey())
    // `command`, `task` or `task-retry`.
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('command_type', 'text', (column) => column.notNull())
    // What is to be done, as JSON: the body of the request.
    .addColumn('request', 'text', (column) => column.notNull())
    .addColumn('requested_by', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
    // `PENDING`, `APPROVED`, `REJECTED`, `EXPIRED` or `WITHDRAWN`.
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('decided_by', 'text')
    .addColumn('decided_at_ms', 'bigint')
    .addColumn('note', 'text')
    // Of the command or task that came of it.
    .addColumn('result_id', 'text')
    .execute()
  await schema.createIndex('approvals_listed').on('approvals').columns(['state', 'created_at_ms', 'id']).execute()
  await schema
    .createTable('approval_sites')
    .addColumn('approval_id', 'text', (column) => column.notNull())
    .addColumn('site_id', 'integer', (column) => column.notNull())
    .addPrimaryKeyConstraint('approval_sites_key', ['approval_id', 'site_id'])
    .execute()
  // The sites of a task's devices, so that nobody sees or stops a task that reaches beyond what is theirs.
  await schema
    .createTable('task_sites')
    .addColumn('task_id', 'text', (column) => column.notNull())
    .addColumn('site_id', 'integer', (column) => column.notNull())
    .addPrimaryKeyConstraint('task_sites_key', ['task_id', 'site_id'])
    .execute()
  await schema.createIndex('task_sites_site').on('task_sites').column('site_id').execute()
}
