/** The bus that a config describes; shared by the core and the command line. */

import { readFileSync } from 'node:fs'
import type { Clock } from '../shared/clock.ts'
import { BusbarError, messageOf } from '../shared/errors.ts'
import type { Logger } from '../shared/log.ts'
import type { Random } from '../shared/random.ts'
import type { Bus } from './bus/bus.ts'
import { createBus } from './bus/create-bus.ts'
import type { CloudConfig } from './config.ts'

/** @throws BusbarError CONFIG_FILE_UNREADABLE when a certificate cannot be read. */
export function busFromConfig(config: CloudConfig, deps: { clock: Clock; random: Random; log: Logger }): Bus {
  const { devicePartitions, tls, sasl, ...settings } = config.kafka
  return createBus({
    ...deps,
    embedded: config.bus,
    deviceTopicPartitions: devicePartitions,
    kafka: {
      ...settings,
      ...(tls.enabled && {
        tls: {
          ...(tls.caFile !== '' && { ca: pem('kafka.tls.caFile', tls.caFile) }),
          ...(tls.certFile !== '' && { cert: pem('kafka.tls.certFile', tls.certFile) }),
          ...(tls.keyFile !== '' && { key: pem('kafka.tls.keyFile', tls.keyFile) }),
          ...(tls.serverName !== '' && { servername: tls.serverName }),
        },
      }),
      ...(sasl.mechanism !== 'none' && {
        sasl: { mechanism: sasl.mechanism, username: sasl.username, password: sasl.password },
      }),
    },
  })
}

function pem(key: string, file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new BusbarError(`cannot read ${key}: ${messageOf(cause)}`, {
      code: 'CONFIG_FILE_UNREADABLE',
      hint: `Set ${key} to a PEM file that this user may read.`,
      cause,
    })
  }
}
