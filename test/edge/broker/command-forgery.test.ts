import { describe, expect, test } from 'vitest'
import { sessionsPath } from '../../../edge/broker/persistence/open-sessions.ts'
import { encodePacket } from '../../../edge/broker/persistence/session-packet.ts'
import { SessionTables } from '../../../edge/broker/persistence/session-tables.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'
import { COMMANDS, EVERYTHING, siteWithDevice, subscriber } from './support/commands.ts'
import { startSite } from './support/site.ts'

describe('nobody may publish on a commands topic', () => {
  const forbidden = { qos: [0, 1, 2], retain: [false, true] } as const
  const cases = forbidden.qos.flatMap((qos) => forbidden.retain.map((retain) => ({ qos, retain })))

  test.each(cases)('with QoS $qos, retain $retain', async ({ qos, retain }) => {
    const { site, login, inbox } = await siteWithDevice()
    const { messages } = await subscriber(site, login)
    const watcher = await subscriber(site, site.login({ role: 'observer', username: 'o' }), EVERYTHING)
    const others = [login, site.login({ role: 'operator', username: 'p' })]
    for (const who of others) {
      const client = await site.client(who)
      client.publish(COMMANDS, 'forged', { qos, retain })
      await until(() => !client.connected)
    }
    expect(site.broker.stats().refused['publish-denied']).toBe(2)
    expect(site.broker.stats().retainedMessages).toBe(0)
    expect([messages, watcher.messages, site.log.of(COMMANDS)]).toEqual([[], [], []])
    expect(inbox.answers).toEqual([])
  })

  test('nor leave a will there', async () => {
    const { site, login } = await siteWithDevice()
    const will = { topic: COMMANDS, payload: Buffer.from('forged'), qos: 1, retain: true } as const
    await expect(site.client({ ...login, will })).rejects.toThrow(/not authorized/i)
    expect(site.broker.stats().refused['will-denied']).toBe(1)
  })

  test('not even by a will that an earlier run stored', async () => {
    const dir = await tempDir()
    const tables = new SessionTables(sessionsPath(dir))
    const packet = { cmd: 'publish', topic: COMMANDS, payload: Buffer.from('old'), qos: 1, retain: true } as const
    tables.apply([
      { kind: 'will', clientId: 'gone', packet: encodePacket({ ...packet, brokerId: 'b', clientId: 'gone' }) },
    ])
    tables.close()
    const site = await startSite({ dir, limits: { willGraceMs: 100 } })
    const { messages } = await subscriber(site, {}, EVERYTHING)
    await new Promise((resolve) => setTimeout(resolve, 400))
    expect([messages, site.log.of(COMMANDS), site.broker.stats().retainedMessages]).toEqual([[], [], 0])
  })
})
