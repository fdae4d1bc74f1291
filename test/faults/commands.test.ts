/** Commands through the faults of what is behind the API: Kafka away, the core killed before it could publish. */

import { rm } from 'node:fs/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { type CloudProcess, startCloud } from '../support/cloud-process.ts'
import { getJson, sendJson } from '../support/json-request.ts'
import { describeKafka, startKafka, type TestKafka } from '../support/kafka.ts'
import { readTopic } from '../support/kcat.ts'
import { describeWith } from '../support/real-parts.ts'
import { until } from '../support/until.ts'

/** Longer than a publish may take, so that publishes fail rather than wait. */
const OUTAGE_MS = 4_000
const COMMANDS = 60

describeKafka('commands', () => {
  describeWith(['kcat'], 'while Kafka is away', () => {
    let kafka: TestKafka
    let cloud: CloudProcess
    afterEach(async () => {
      await cloud?.kill('SIGKILL')
      await kafka?.stop()
      await rm(cloud.dir, { recursive: true, force: true })
    })

    const create = async (count: number): Promise<string[]> => {
      const ids: string[] = []
      for (let i = 0; i < count; i++) {
        const { status, body } = await sendJson(`${cloud.apiUrl}/api/v1/commands`, 'POST', {
          device_id: `dev-${i}`,
          name: 'reboot',
        })
        expect(status).toBe(201)
        ids.push(body.id)
      }
      return ids
    }
    const statusOf = async (id: string): Promise<string> =>
      (await getJson(`${cloud.apiUrl}/api/v1/commands/${id}`)).body.status
    const published = async (): Promise<string[]> =>
      (await readTopic(kafka.brokers, 'command.events')).map(({ key }) => key as string)
    const allPublished = async (ids: readonly string[]): Promise<void> => {
      for (const id of ids) {
        await until(async () => (await statusOf(id)) === 'sent', {
          timeoutMs: 60_000,
          pollMs: 100,
          what: `${id} is sent`,
        })
      }
      expect(new Set(await published())).toEqual(new Set(ids))
    }

    describe('all are accepted, and all are published after', { timeout: 120_000 }, () => {
      it('when the broker dies for longer than a publish may take', async () => {
        kafka = await startKafka()
        cloud = await startCloud({ kafkaBrokers: kafka.brokers, config: { kafka: { publishTimeoutMs: 1_500 } } })
        const before = await create(1)
        await allPublished(before)
        await kafka.kill()
        const during = await create(COMMANDS)
        await new Promise((resolve) => setTimeout(resolve, OUTAGE_MS))
        for (const id of during) expect(await statusOf(id)).toBe('pending')
        await kafka.restart()
        await allPublished([...before, ...during])
      })

      it('when the core is killed as well before Kafka is back', async () => {
        kafka = await startKafka()
        cloud = await startCloud({ kafkaBrokers: kafka.brokers, config: { kafka: { publishTimeoutMs: 1_500 } } })
        const before = await create(1)
        await allPublished(before)
        await kafka.kill()
        const during = await create(COMMANDS)
        await cloud.kill('SIGKILL')
        await kafka.restart()
        await cloud.restart()
        await allPublished([...before, ...during])
      })
    })
  })
})
