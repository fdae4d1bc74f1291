/** Settings of what the cloud core connects to: the brokers, or the embedded bus instead, and the database. */

import {
  ADDRESS_PATTERN,
  bytes,
  choice,
  count,
  directory,
  file,
  flag,
  GiB,
  list,
  MiB,
  milliseconds,
  secretText,
  section,
  table,
  text,
} from '../shared/config/keys.ts'

export const kafka = section('Kafka; without brokers the embedded bus is used.', {
  brokers: list(
    [],
    'Addresses to begin with; the other brokers are learnt from them',
    'host:port strings',
    ADDRESS_PATTERN,
  ),
  clientId: text('busbar-cloud', 'Name in the logs and quotas of the brokers', '1 to 64 characters', '^.{1,64}$'),
  compression: choice('gzip', ['none', 'gzip', 'snappy', 'lz4', 'zstd'], 'Compression of batches'),
  replicationFactor: count(1, [1, 9], 'replicas', 'Replicas of each topic that is created; 3 in production'),
  minInsyncReplicas: count(1, [1, 9], 'replicas', 'Replicas that must confirm a write; 2 in production'),
  devicePartitions: count(3, [3, 1_000], 'partitions', 'Partitions of the device topics when they are created'),
  queueBytesMax: bytes(
    64 * MiB,
    [1 * MiB, 16 * GiB],
    'Records that Kafka has not confirmed; beyond it publishers wait',
  ),
  publishTimeoutMs: milliseconds(60_000, [1_000, 600_000], 'How long a publish may take before it counts as failed'),
  requestTimeoutMs: milliseconds(10_000, [500, 600_000], 'How long a broker may take for one request'),
  connectTimeoutMs: milliseconds(5_000, [200, 120_000], 'How long connecting to a broker may take'),
  sessionTimeoutMs: milliseconds(
    30_000,
    [1_000, 600_000],
    'How long a consumer group waits for a silent member before others get its partitions',
  ),
  tls: section('TLS to the brokers.', {
    enabled: flag(false, 'Use TLS'),
    caFile: file('Certificates that the brokers are trusted by, PEM; none means those of the system'),
    certFile: file('Certificate of this client, PEM'),
    keyFile: file('Private key of the certificate, PEM'),
    serverName: text('', 'Name that the certificates of the brokers carry; empty means their host names'),
  }),
  sasl: section('Login to the brokers.', {
    mechanism: choice('none', ['none', 'plain', 'scram-sha-256', 'scram-sha-512'], 'How to log in'),
    username: text('', 'Name of the user'),
    password: secretText('', 'Password of the user; better in a file of its own or in the environment', 'a string'),
  }),
  encoding: table(
    {},
    'How the values of topics are written: "avro", which needs kafka.schemaRegistry.url, or "json"; topics that are not named are JSON. Both are read whatever this says',
    '"json" or "avro" by topic',
  ),
  schemaRegistry: section('The schema registry, for values in Avro.', {
    url: text(
      '',
      "Base of its API, which is that of Confluent's; Apicurio has it under /apis/ccompat/v7. Empty means that there is none",
      'an http or https URL such as "http://registry:8081", or "" for none',
      '^(https?://[^\\s?#@]+)?$',
    ),
    autoRegister: flag(true, 'Register the schemas of the topics that are written as Avro; false looks them up only'),
    username: text('', 'Name of the user; empty means no login by password'),
    password: secretText('', 'Password of the user; better in a file of its own or in the environment', 'a string'),
    token: secretText('', 'Bearer token, instead of a name and a password', 'a string without spaces', '^\\S*$'),
    timeoutMs: milliseconds(5_000, [100, 120_000], 'How long it may take for one request'),
    tls: section('TLS to the schema registry, where its URL begins with https.', {
      caFile: file('Certificates that it is trusted by, PEM; none means those of the system'),
      certFile: file('Certificate of this client, PEM'),
      keyFile: file('Private key of the certificate, PEM'),
    }),
  }),
})

export const bus = section('The embedded bus.', {
  dir: directory('./data/bus', 'Where its topics are kept'),
  bytesMax: bytes(10 * GiB, [16 * MiB, 2 ** 50], 'Size of all topics; beyond it the oldest records go'),
})

/** A URL without a password may be seen by anyone; one that somebody forgot to encode has a password all the same. */
const DATABASE_URL_SECRET = '://[^@]*:[^@]*@|[?&][^=&]*password='

export const database = section('The database.', {
  url: secretText(
    'sqlite:./data/busbar.db',
    'SQLite file, or PostgreSQL where there is more than one core; "memory:" forgets everything at the end',
    '"sqlite:<path>", "memory:" or "postgres://user:password@host:port/name"',
    '^(sqlite:.+|memory:|postgres(ql)?://.+)$',
    DATABASE_URL_SECRET,
  ),
  tls: section('TLS to PostgreSQL.', {
    enabled: flag(false, 'Use TLS, and check the certificate of the server'),
    caFile: file('Certificates that the server is trusted by, PEM; none means those of the system'),
    certFile: file('Certificate of this client, PEM'),
    keyFile: file('Private key of the certificate, PEM'),
    serverName: text('', 'Name that the certificate of the server carries; empty means the host of the URL'),
  }),
  poolSize: count(10, [1, 1_000], 'connections', 'Connections to PostgreSQL; SQLite has one'),
  connectTimeoutMs: milliseconds(5_000, [200, 120_000], 'How long connecting may take'),
  queryTimeoutMs: milliseconds(30_000, [500, 600_000], 'How long a statement may take'),
  startTimeoutMs: milliseconds(30_000, [0, 3_600_000], 'How long starting waits for a database that is not up yet'),
})
