/** What must hold between the settings of the cloud core. */

import { TOPIC_SCHEMAS } from '../proto/generated/avro/topic-schemas.ts'
import type { CrossProblem } from '../shared/config/load.ts'
import { BusbarError } from '../shared/errors.ts'
import { isTimeZone } from '../shared/local-time.ts'
import { isLoopback } from '../shared/loopback.ts'
import { keysWritten } from './activity/written-keys.ts'
import type { CloudConfig } from './config.ts'
import { databaseUrlFault } from './database/url.ts'
import { readKeys } from './identity/master-key.ts'
import { readRolesByGroup } from './identity/oidc-claims.ts'

type Require = (holds: boolean, key: string, message: string) => void

export function crossProblems(config: CloudConfig): CrossProblem[] {
  const problems: CrossProblem[] = []
  const require: Require = (holds, key, message) => {
    if (!holds) problems.push({ key, message })
  }
  checkListeners(config, require)
  checkPairs(config, require)
  checkConnections(config, require)
  checkEncoding(config, require)
  const { ingest, kafka, notifications, identity } = config
  require(ingest.windowBytes <=
    ingest.inflightBytesMax, 'ingest.windowBytes', 'must not exceed ingest.inflightBytesMax')
  require(kafka.minInsyncReplicas <=
    kafka.replicationFactor, 'kafka.minInsyncReplicas', 'must not exceed kafka.replicationFactor')
  const { webhook } = notifications
  require(webhook.url === '' ||
    webhook.secret !== '', 'notifications.webhook.secret', 'is required because notifications.webhook.url is set')
  require(kafka.sasl.mechanism === 'none' ||
    kafka.sasl.username !== '', 'kafka.sasl.username', 'is required because kafka.sasl.mechanism is set')
  require(identity.lockoutMs <= identity.lockoutMaxMs, 'identity.lockoutMs', 'must not exceed identity.lockoutMaxMs')
  const { authority } = config
  require(authority.keyFile === '' ||
    authority.certFile !== '', 'authority.certFile', 'is required because authority.keyFile is set')
  require(authority.certFile === '' ||
    authority.keyFile !== '' ||
    ingest.insecure ||
    ingest.tls.certFile !==
      '', 'ingest.tls.certFile', 'is required because authority.certFile is set without its key: nothing is signed here')
  const { oidc } = identity
  require(oidc.issuer === '' ||
    oidc.clientId !== '', 'identity.oidc.clientId', 'is required because identity.oidc.issuer is set')
  require(!oidc.issuer.startsWith('http:') ||
    (oidc.insecure &&
      isLoopback(
        URL.parse(oidc.issuer)?.hostname ?? '',
      )), 'identity.oidc.issuer', 'must begin with https://; http:// is for loopback, with identity.oidc.insecure = true')
  const wrongRoles = whyWrongRoles(oidc.roles)
  require(wrongRoles === null, 'identity.oidc.roles', wrongRoles ?? '')
  const activityKeys = keysWritten(config.activity.keys)
  const keysFault = activityKeys.length === 0 ? undefined : readKeys(activityKeys).fault
  require(keysFault === undefined, 'activity.keys', keysFault ?? '')
  const zoneKnown = isTimeZone(config.activity.suspicion.timeZone)
  require(zoneKnown, 'activity.suspicion.timeZone', 'must be the IANA name of a time zone, such as Europe/Zurich or UTC')
  return problems
}

function whyWrongRoles(roles: Readonly<Record<string, string>>): string | null {
  try {
    readRolesByGroup(roles)
    return null
  } catch (error) {
    if (error instanceof BusbarError) return `is wrong: ${error.message}; ${error.hint}`
    throw error
  }
}

function checkListeners({ api, ingest, approvals }: CloudConfig, require: Require): void {
  require(!ingest.insecure ||
    isLoopback(ingest.host), 'ingest.insecure', 'may be true only while ingest.host is a loopback address')
  require(!api.insecure ||
    isLoopback(api.host), 'api.insecure', 'may be true only while api.host is a loopback address')
  require(approvals.commandTypes.length === 0 ||
    !api.insecure, 'approvals.commandTypes', 'must be empty while api.insecure is true: nobody is known, so nobody is a second person')
  require(isLoopback(api.host) ||
    api.tls.enabled ||
    api.trustedProxies.length >
      0, 'api.host', 'must be a loopback address unless api.tls.enabled is true or api.trustedProxies names a proxy')
  require(api.port === 0 || api.port !== ingest.port, 'api.port', 'must differ from ingest.port')
}

/** What the core connects to, and whether that can be read on the way. */
function checkConnections({ database, kafka }: CloudConfig, require: Require): void {
  const { tls } = database
  require(!tls.enabled || /^postgres(ql)?:/.test(database.url), 'database.tls.enabled', 'is for PostgreSQL only')
  const fault = databaseUrlFault(database.url, tls.enabled)
  require(fault === null, 'database.url', fault ?? '')
  const local = kafka.brokers.every((broker) => isLoopback(broker.replace(/:[0-9]+$/, '')))
  require(kafka.sasl.mechanism !== 'plain' ||
    kafka.tls.enabled ||
    local, 'kafka.sasl.mechanism', 'may be "plain" only with kafka.tls.enabled: the password could be read on the way')
}

/** Which topics are Avro, and the schema registry that those need. */
function checkEncoding({ kafka }: CloudConfig, require: Require): void {
  const { brokers, encoding, schemaRegistry } = kafka
  const { url, username, token, tls } = schemaRegistry
  const key = 'kafka.encoding'
  for (const [topic, value] of Object.entries(encoding)) {
    const named = JSON.stringify(topic)
    require(value === 'avro' ||
      value === 'json', key, `of ${named} is ${JSON.stringify(value)}, must be "json" or "avro"`)
    require(Object.hasOwn(
      TOPIC_SCHEMAS,
      topic,
    ), key, `names ${named}, which is no topic with an Avro schema; those are ${Object.keys(TOPIC_SCHEMAS).join(', ')}`)
  }
  const [first] = Object.entries(encoding).flatMap(([topic, value]) => (value === 'avro' ? [topic] : []))
  const avro = `is "avro" for ${first}`
  if (first !== undefined) {
    require(brokers.length >
      0, key, `${avro}, which needs kafka.brokers: the embedded bus keeps JSON. Set them, or take it out`)
    require(url !== '', 'kafka.schemaRegistry.url', `is required because ${key} ${avro}`)
  }
  if (url === '') return
  const { protocol = '', hostname = '' } = URL.parse(url) ?? {}
  require(hostname !== '', 'kafka.schemaRegistry.url', 'is not a well-formed URL')
  require(username === '' ||
    token === '', 'kafka.schemaRegistry.token', 'must be empty while kafka.schemaRegistry.username is set')
  const isPlain = protocol === 'http:'
  require(!isPlain ||
    (username === '' && token === '') ||
    isLoopback(
      hostname,
    ), 'kafka.schemaRegistry.url', 'must begin with https:// because there is a login: it could be read on the way')
  require(!isPlain ||
    (tls.caFile === '' &&
      tls.certFile ===
        ''), 'kafka.schemaRegistry.url', 'must begin with https:// because kafka.schemaRegistry.tls is set')
}

/** A certificate is of no use without its key, nor a key without its certificate. */
function checkPairs({ api, ingest, kafka, database }: CloudConfig, require: Require): void {
  const pairs = {
    'api.tls': api.tls,
    'ingest.tls': ingest.tls,
    'kafka.tls': kafka.tls,
    'kafka.schemaRegistry.tls': kafka.schemaRegistry.tls,
    'database.tls': database.tls,
  }
  for (const [name, { certFile, keyFile }] of Object.entries(pairs)) {
    const key = certFile === '' ? `${name}.certFile` : `${name}.keyFile`
    require((certFile === '') === (keyFile === ''), key, 'is required because the other of certFile and keyFile is set')
  }
}
