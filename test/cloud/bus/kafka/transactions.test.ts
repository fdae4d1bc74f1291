/** How publishes that are atomic share transactions; what becomes of them is kafka-transactions.test.ts's. */

import { expect, test } from 'vitest'
import type { BrokerClient } from '../../../../cloud/bus/kafka/broker-client.ts'
import { withDefaults } from '../../../../cloud/bus/kafka/kafka-options.ts'
import { ProducerHealth } from '../../../../cloud/bus/kafka/producer-health.ts'
import type { Route, TopicRoutes } from '../../../../cloud/bus/kafka/topic-routes.ts'
import { Transactions } from '../../../../cloud/bus/kafka/transactions.ts'
import { systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'

test('a publish that comes just as the last transaction ends is carried as well', { timeout: 3_000 }, async () => {
  const tools = { clock: systemClock, random: systemRandom, log: silentLogger }
  const brokers = ['127.0.0.1:1']
  const away = () => Promise.reject(new Error('nobody is there'))
  const transactions = new Transactions({
    client: { anyNode: away, connection: away } as unknown as BrokerClient,
    config: withDefaults({ brokers }),
    answers: new ProducerHealth({ brokers, ...tools }),
    routes: {} as TopicRoutes,
    // So that each ends with its first attempt.
    aborted: AbortSignal.abort(),
    ...tools,
  })
  const route = { topic: 'logs', queues: [], leaders: [1] } as unknown as Route
  const publish = () => {
    const records = [{ key: 'ann', value: '1' }]
    const times = { wallMs: 0, acceptedMs: systemClock.monotonicMs() }
    return transactions.publish({ route, records, partitions: [0], bytesMax: 100, ...times }).catch(({ code }) => code)
  }
  for (let turnsLater = 0; turnsLater < 6; turnsLater++) {
    expect(await publish()).toBe('BUS_STOPPED')
    for (let turn = 0; turn < turnsLater; turn++) await Promise.resolve()
    expect(await publish()).toBe('BUS_STOPPED')
  }
})
