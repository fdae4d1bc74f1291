import { KafkaBus } from '../../cloud/bus/kafka/kafka-bus.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { describeKafka, startKafka } from '../support/kafka.ts'
import { busSuite } from './bus-suite.ts'

describeKafka('with a real broker', () => {
  busSuite(async () => {
    const kafka = await startKafka()
    return {
      create: (options) =>
        new KafkaBus({
          brokers: kafka.brokers,
          ...options,
          clock: systemClock,
          random: systemRandom,
          log: silentLogger,
        }),
      dispose: () => kafka.stop(),
    }
  })
})
