import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { COMMAND_PACKET_ID_MIN, COMMAND_PACKET_IDS, ENGINE_PACKET_ID_MAX } from '../../../edge/broker/packet-ids.ts'
import { until } from '../../support/until.ts'
import { COMMAND, COMMANDS, rawDevice, siteWithInbox } from './support/commands.ts'
import { ackFrame } from './support/frames.ts'

describe('packet identifiers', () => {
  test('of commands are never those of the engine, which holds its own to its range', async () => {
    // The engine draws where it begins; here it would be at the very end.
    const random = vi.spyOn(Math, 'random').mockReturnValue(0.999_999)
    onTestFinished(() => random.mockRestore())
    const { site, inbox } = await siteWithInbox()
    inbox.releases = true
    const telemetry = 'sites/+/devices/+/telemetry'
    const both = await site.client({ clientId: 'both' })
    const ids: number[] = []
    both.on('packetreceive', (packet) => {
      if (packet.cmd === 'publish') ids.push(packet.messageId ?? 0)
    })
    await both.subscribeAsync([COMMANDS, telemetry], { qos: 2 })
    const publisher = await site.client()
    const commandIds: number[] = []
    for (let i = 0; i < 5; i++) {
      const route = inbox.route()
      commandIds.push(route.newPacketId())
      route.publish(commandIds[i] as number, COMMAND, false)
      await publisher.publishAsync('sites/1/devices/MTR-1/telemetry', '{}', { qos: 2 })
    }
    await until(() => ids.length === 10 && inbox.of('completed').length === 5)
    const engineIds = ids.filter((id) => !commandIds.includes(id))
    expect(engineIds).toEqual([ENGINE_PACKET_ID_MAX, 1, 2, 3, 4])
    for (const id of commandIds) expect(id).toBeGreaterThanOrEqual(COMMAND_PACKET_ID_MIN)
  })

  test('are given out until all are in flight, and again when one is free', async () => {
    const { site, inbox } = await siteWithInbox()
    const raw = await rawDevice(site, { filter: COMMANDS })
    const route = inbox.route()
    const ids = Array.from({ length: COMMAND_PACKET_IDS }, () => {
      const id = route.newPacketId()
      route.publish(id, Buffer.alloc(0), false)
      return id
    })
    expect(new Set(ids).size).toBe(COMMAND_PACKET_IDS)
    expect(route.newPacketId()).toBe(0)
    expect(route.publish(0, COMMAND, false)).toBe(false)
    const free = ids[5000] as number
    route.release(free)
    raw.send(ackFrame('pubcomp', free))
    await until(() => inbox.of('completed').length === 1)
    expect(route.newPacketId()).toBe(free)
  })
})
