/** The bus that a config describes; shared by the core and the command line. */

import type { Clock } from '../shared/clock.ts'
import { readTlsFiles } from '../shared/config/pem.ts'
import type { Logger } from '../shared/log.ts'
import type { Random } from '../shared/random.ts'
import type { Bus } from './bus/bus.ts'
import { createBus } from './bus/create-bus.ts'
import type { CloudConfig } from './config.ts'

/** @throws BusbarError CONFIG_FILE_UNREADABLE when a certificate cannot be read. */
export function busFromConfig(config: CloudConfig, deps: { clock: Clock; random: Random; log: Logger }): Bus {
  const { devicePartitions, tls, sasl, schemaRegistry, encoding, ...settings } = config.kafka
  const { tls: registryTls, ...registry } = schemaRegistry
  return createBus({
    ...deps,
    embedded: config.bus,
    deviceTopicPartitions: devicePartitions,
    ...(registry.url !== '' && {
      encoding: {
        registry: { ...registry, tls: readTlsFiles('kafka.schemaRegistry.tls', registryTls) },
        avroTopics: Object.keys(encoding).filter((topic) => encoding[topic] === 'avro'),
      },
    }),
    kafka: {
      ...settings,
      ...(tls.enabled && {
        tls: {
          ...readTlsFiles('kafka.tls', tls),
          ...(tls.serverName !== '' && { servername: tls.serverName }),
        },
      }),
      ...(sasl.mechanism !== 'none' && {
        sasl: { mechanism: sasl.mechanism, username: sasl.username, password: sasl.password },
      }),
    },
  })
}
