/** The settings of a test Kafka that only lets in whom it knows, and only to what they may do. */

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface KafkaSecurity {
  /** PEM. */
  readonly ca: string
  readonly cert: string
  readonly key: string
  /** Passwords by name, for SCRAM and PLAIN alike. */
  readonly users: Readonly<Record<string, string>>
}

export interface SecureListeners {
  /** Login with a password, over TLS. */
  readonly sasl: number
  /** Login with a certificate. */
  readonly mutual: number
}

/** Addresses of the listeners, to be added to those of a broker without security. */
export function secureListeners({ sasl, mutual }: SecureListeners): string {
  return `,SASL://127.0.0.1:${sasl},MUTUAL://127.0.0.1:${mutual}`
}

/** Lines of the properties file; who comes over the plain listener of the tests may do everything. */
export async function secureSettings(dir: string, security: KafkaSecurity): Promise<string[]> {
  const { ca, cert, key, users } = security
  const identity = join(dir, 'broker.pem')
  const trusted = join(dir, 'trusted.pem')
  await writeFile(identity, key + cert)
  await writeFile(trusted, ca)
  const plainUsers = Object.entries(users).map(([name, password]) => `user_${name}="${password}"`)
  const modules = 'org.apache.kafka.common.security'
  return [
    'ssl.keystore.type=PEM',
    `ssl.keystore.location=${identity}`,
    'ssl.truststore.type=PEM',
    `ssl.truststore.location=${trusted}`,
    'listener.name.mutual.ssl.client.auth=required',
    'sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN',
    ...['256', '512'].map(
      (bits) => `listener.name.sasl.scram-sha-${bits}.sasl.jaas.config=${modules}.scram.ScramLoginModule required;`,
    ),
    `listener.name.sasl.plain.sasl.jaas.config=${modules}.plain.PlainLoginModule required ${plainUsers.join(' ')};`,
    'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users=User:ANONYMOUS',
    // A login that fails is answered at once; the default holds back what a test waits for.
    'connection.failed.authentication.delay.ms=0',
  ]
}

/** Arguments of the storage tool that make the users of SCRAM. */
export function scramUsers({ users }: KafkaSecurity): string[] {
  return Object.entries(users).flatMap(([name, password]) =>
    ['256', '512'].flatMap((bits) => ['--add-scram', `SCRAM-SHA-${bits}=[name=${name},password=${password}]`]),
  )
}

/** Logging with what the authorizer refuses; without a file of its own a broker tells nothing below an error. */
export async function loggingOfDenials(dir: string): Promise<string> {
  const path = join(dir, 'log4j2.properties')
  const lines = [
    'rootLogger.level=ERROR',
    'rootLogger.appenderRef.out.ref=out',
    'appender.out.type=Console',
    'appender.out.name=out',
    'appender.out.layout.type=PatternLayout',
    'appender.out.layout.pattern=%p %c{1} %m%n',
    'logger.authorizer.name=kafka.authorizer.logger',
    'logger.authorizer.level=INFO',
  ]
  await writeFile(path, `${lines.join('\n')}\n`)
  return `-Dlog4j2.configurationFile=${path}`
}
