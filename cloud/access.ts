/**
 * Composition of who may do what: people and programs that log in, gateways that are known by their certificates, and whoever
 * notices somebody who does not belong.
 *
 *     people, programs ─▶ identity ─▶ api        gateways ─▶ trust ─▶ ingest
 *                            └──────▶ security events ◀──────┘
 */

import { hostname } from 'node:os'
import { readTlsFiles } from '../shared/config/pem.ts'
import type { ApiOptions } from './api/api.ts'
import type { Route } from './api/http/route.ts'
import { apiKeyRoutes } from './api/routes/api-keys.ts'
import { certificateRoutes } from './api/routes/certificates.ts'
import { enrolmentRoutes } from './api/routes/enrolment.ts'
import { oidcRoutes } from './api/routes/oidc.ts'
import { pageRoutes } from './api/routes/pages.ts'
import { identityRoutes } from './api/routes/users.ts'
import { createGatewayTrust, type GatewayTrust } from './authority/authority.ts'
import type { CloudConfig } from './config.ts'
import type { CoreTools } from './core.ts'
import type { DatabaseHandle } from './database/database.ts'
import {
  ApiKeys,
  type Authentication,
  Identity,
  LOCAL_AUTHENTICATION,
  type MasterKey,
  OidcLogins,
  openMasterKey,
  SecurityEvents,
  sitesWith,
} from './identity/identity.ts'
import type { IngestSecurity } from './ingest/identity-guard.ts'
import type { Notifier } from './notifications/notifications.ts'
import type { Registry } from './registry/registry.ts'
import { includesSites, NO_SITE } from './registry/site-scope.ts'

export interface AccessServices {
  readonly database: DatabaseHandle
  readonly registry: Registry
  readonly notifications: Notifier
  readonly coreId: string
  /** Tags of the routes that are served. */
  readonly tags: () => ReadonlySet<string>
}

export type Access = ReturnType<typeof createAccess>

/** @param authentication in place of what the config says; for who tests what each caller may do. */
export function createAccess(
  config: CloudConfig,
  services: AccessServices,
  tools: CoreTools,
  authentication?: Authentication,
) {
  const common = { ...services, ...tools }
  const security = new SecurityEvents({ ...common, notifier: services.notifications })
  let opened: MasterKey | undefined
  const masterKey = (): MasterKey => (opened ??= openMasterKey(config.identity.masterKeyFile, tools.random))

  const loginsAsked = !config.api.insecure || authentication !== undefined
  const people = loginsAsked ? createPeople(config, { ...common, events: security, masterKey: masterKey() }) : null
  const { tls } = config.api
  const makesOwnCertificate = tls.enabled && tls.certFile === ''
  const trusting = loginsAsked || !config.ingest.insecure || makesOwnCertificate
  const trust = trusting ? createTrust(config, { ...common, security, masterKey }) : null
  const publicUrl = config.api.publicUrl === '' ? null : config.api.publicUrl
  const routes: readonly Route[] = [
    ...(people?.routes ?? []),
    ...(trust === null ? [] : [...enrolmentRoutes({ trust }), ...certificateRoutes({ ...common, trust, publicUrl })]),
  ]
  return {
    security,
    identity: people?.identity ?? null,
    authentication: authentication ?? people?.identity ?? LOCAL_AUTHENTICATION,
    /** Of a program's key, whoever made it. */
    personBehind: async (callerId: string) => (await people?.apiKeys.makerOf(callerId)) ?? callerId,
    mayCommand: async (userId: string, siteIds: readonly number[]) => {
      if (people === null || authentication !== undefined) return true
      const operates = sitesWith(await people.identity.users.grantsOf(userId), 'operator')
      return includesSites(operates, siteIds.length === 0 ? [NO_SITE] : siteIds)
    },
    routes,
    ingest: trust === null || config.ingest.insecure ? {} : { security: ingestSecurity(config, trust, security) },
    api: apiTls(config, trust),
    /** To be started after the database, and before ingest and API. */
    parts: [security, ...(trust === null ? [] : [trust.authority]), ...(people === null ? [] : [people.identity])],
  }
}

function createPeople(
  config: CloudConfig,
  common: AccessServices & CoreTools & { readonly events: SecurityEvents; readonly masterKey: MasterKey },
) {
  const { oidc: oidcSettings, recheckMs, passwordLengthMin } = config.identity
  const apiKeys = new ApiKeys({ ...common, recheckMs })
  const identity = new Identity({ ...common, settings: config.identity, apiKeys })
  const identityProvider = oidcSettings.issuer !== ''
  const oidc = new OidcLogins({ ...common, settings: oidcSettings, onChange: () => identity.forgetRights() })
  const { publicUrl } = config.api
  const routes = [
    ...identityRoutes({ ...common, identity }),
    ...apiKeyRoutes({ apiKeys }),
    ...(identityProvider ? oidcRoutes({ ...common, oidc, logins: identity.logins, publicUrl }) : []),
    ...pageRoutes({ identityProvider, passwordLengthMin }),
  ]
  return { identity, apiKeys, routes }
}

function createTrust(
  config: CloudConfig,
  common: AccessServices & CoreTools & { readonly security: SecurityEvents; readonly masterKey: () => MasterKey },
): GatewayTrust {
  const { authority, identity, ingest, api } = config
  const own = authority.certFile === '' ? null : readTlsFiles('authority', authority)
  return createGatewayTrust({
    ...common,
    events: common.security,
    gatewaySites: common.registry.gatewaySites,
    settings: authority,
    attempts: { failuresMax: identity.addressFailuresMax, windowMs: identity.lockoutMs },
    own: own === null ? null : { certificates: own.cert as string, ...(own.key === undefined ? {} : { key: own.key }) },
    ingestFiles: () => readTlsFiles('ingest.tls', ingest.tls),
    ingestAddress: ingest.publicAddress === '' ? null : ingest.publicAddress,
    hosts: hostsOf([api.publicUrl, `tcp://${ingest.publicAddress}`, `tcp://${api.host}`, `tcp://${ingest.host}`]),
  })
}

function ingestSecurity(config: CloudConfig, trust: GatewayTrust, events: SecurityEvents): IngestSecurity {
  const { authority, identities, renewals } = trust
  return { tls: () => authority.ingestTls(), identities, renewals, events, recheckMs: config.authority.recheckMs }
}

/** What the API shows, if it speaks TLS. */
function apiTls({ api }: CloudConfig, trust: GatewayTrust | null): Pick<ApiOptions, 'tls'> {
  if (!api.tls.enabled) return {}
  if (api.tls.certFile !== '') return { tls: readTlsFiles('api.tls', api.tls) as { cert: string; key: string } }
  return { tls: async () => (trust as GatewayTrust).authority.listenerTls() }
}

/** Names and addresses under which this core is reached; those that stand for every address are none. */
function hostsOf(urls: readonly string[]): string[] {
  const hosts = urls.map((url) => URL.parse(url)?.hostname.replace(/^\[(.*)\]$/, '$1') ?? '')
  return [...new Set([hostname(), ...hosts])].filter((host) => !['', '0.0.0.0', '::'].includes(host))
}
