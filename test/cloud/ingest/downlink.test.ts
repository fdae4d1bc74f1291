import { status } from '@grpc/grpc-js'
import { describe, expect, test } from 'vitest'
import type { GatewayReceipts, OpenSession } from '../../../cloud/gateways/gateways.ts'
import type { CommandReceipts } from '../../../proto/generated/busbar/edge/v1/uplink.ts'
import { ingestCore } from '../../support/ingest-core.ts'
import { rawGateway } from '../../support/raw-gateway.ts'
import { plainCommand } from '../../support/simulated-commands.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'

async function listeningCore() {
  const { port, gateways } = await ingestCore({ dir: await tempDir() })
  const opened: OpenSession[] = []
  const receipted: ({ gatewayId: string; sessionId: string } & GatewayReceipts)[] = []
  gateways.listen({
    opened: (session) => opened.push(session),
    receipted: (gatewayId, sessionId, receipts) => receipted.push({ gatewayId, sessionId, ...receipts }),
  })
  const connect = async (gatewayId = 'gw-1') => {
    const gateway = rawGateway(port)
    await gateway.admitted({ gatewayId })
    const session = opened.at(-1) as OpenSession
    const receipt = (stored: string[], refused: string[] = []): void =>
      gateway.send({ $case: 'commandReceipts', value: { stored, refused } })
    return { gateway, session, receipt }
  }
  return { connect, gateways, receipted }
}

describe('on the way down', () => {
  test('commands and cancellations follow the Welcome, as they were given', async () => {
    const { connect } = await listeningCore()
    const { gateway, session } = await connect()
    expect(session.gatewayId).toBe('gw-1')
    session.downlink.sendCommands([plainCommand('a'), plainCommand('b')])
    session.downlink.cancelCommands(['a'])
    await until(() => gateway.responses.length === 3)
    expect(gateway.responses.map(({ message }) => message)).toEqual([
      expect.objectContaining({ $case: 'welcome' }),
      { $case: 'commands', value: { commands: [plainCommand('a'), plainCommand('b')] } },
      { $case: 'commandCancellations', value: { commandIds: ['a'] } },
    ])
  })

  test('a session that another core took over ends, and its way down leads nowhere', async () => {
    const { connect, gateways } = await listeningCore()
    const { gateway, session } = await connect()
    session.downlink.end('core 2 has it')
    session.downlink.end('core 2 has it')
    await until(() => gateway.ended)
    expect(gateway.ended).toMatchObject({ code: status.ABORTED, details: 'core 2 has it' })
    session.downlink.sendCommands([plainCommand('a')])
    await until(() => gateways.connectedCount === 0)
  })
})

describe('receipts', () => {
  test('are passed on, each once, with the session that they came in', async () => {
    const { connect, receipted } = await listeningCore()
    const { session, receipt } = await connect()
    session.downlink.sendCommands(['a', 'b', 'c'].map(plainCommand))
    receipt(['a'], ['b'])
    receipt(['a', 'c'])
    await until(() => receipted.length === 2)
    const { gatewayId, sessionId } = session
    expect(receipted).toEqual([
      { gatewayId, sessionId, stored: ['a'], refused: ['b'] },
      { gatewayId, sessionId, stored: ['c'], refused: [] },
    ])
    session.downlink.sendCommands([plainCommand('b')])
    receipt(['b'])
    await until(() => receipted.length === 3)
  })

  test('of a command that went down twice are passed on twice: it was refused, then stored', async () => {
    const { connect, receipted } = await listeningCore()
    const { session, receipt } = await connect()
    session.downlink.sendCommands([plainCommand('a')])
    session.downlink.sendCommands([plainCommand('a')])
    receipt([], ['a'])
    receipt(['a'])
    receipt(['a'])
    await until(() => receipted.length === 2)
    expect(receipted.map(({ stored, refused }) => [stored, refused])).toEqual([
      [[], ['a']],
      [['a'], []],
    ])
  })

  test('say nothing of what this session was not given: not of the last one, not of another gateway', async () => {
    const { connect, receipted } = await listeningCore()
    const before = await connect()
    before.session.downlink.sendCommands([plainCommand('old')])
    const other = await connect('gw-2')
    other.session.downlink.sendCommands([plainCommand('other')])
    const { session, receipt } = await connect()
    session.downlink.sendCommands([plainCommand('mine')])
    receipt(['old', 'other', 'mine'])
    await until(() => receipted.length === 1)
    expect(receipted[0]?.stored).toEqual(['mine'])
  })

  const tooMany = Array.from({ length: 501 }, (_, i) => `cmd-${i}`)
  test.each<[string, CommandReceipts, string]>([
    ['too many ids', { stored: tooMany, refused: [] }, 'names 501 commands, and may name 500'],
    ['an endless id', { stored: [], refused: ['x'.repeat(65)] }, 'command_receipts.refused'],
    ['an empty id', { stored: [''], refused: [] }, 'command_receipts.stored'],
    ['an id with a NUL', { stored: ['a\0b'], refused: [] }, '1 to 64 letters'],
  ])('with %s end the stream with the reason', async (_, value, problem) => {
    const { connect, receipted } = await listeningCore()
    const { gateway } = await connect()
    gateway.send({ $case: 'commandReceipts', value })
    await until(() => gateway.ended)
    expect(gateway.ended).toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringContaining(problem),
    })
    expect(receipted).toEqual([])
  })

  test('before the Welcome end the stream', async () => {
    const { port } = await ingestCore({ dir: await tempDir() })
    const gateway = rawGateway(port)
    gateway.send({ $case: 'commandReceipts', value: { stored: ['a'], refused: [] } })
    await until(() => gateway.ended)
    expect(gateway.ended).toMatchObject({ code: status.INVALID_ARGUMENT })
  })
})
