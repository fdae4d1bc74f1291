import { describe, expect, test } from 'vitest'
import { SimulatedUplink } from '../../support/simulated-uplink.ts'

/** Connected, and nothing to send. */
function connected(rules: ConstructorParameters<typeof SimulatedUplink>[0] = {}): SimulatedUplink {
  const uplink = new SimulatedUplink(rules)
  uplink.advance(0)
  uplink.dialled()
  uplink.welcome(100_000)
  return uplink
}

describe('commands in a session', () => {
  test('go to the inbox, and its answer goes up at once though data is waiting', () => {
    const uplink = connected()
    for (let i = 0; i < 20; i++) uplink.append('telemetry', 500)
    while (uplink.reads.length > 0) uplink.completeRead(0)
    expect(uplink.flow?.writable).toBe(false)
    uplink.handOver(3)
    uplink.answerCommands(0, 2)
    expect([...uplink.commands.receipted]).toEqual(['cmd-1'])
    uplink.handOver(0)
    uplink.answerCommands(0)
    expect(uplink.commands.isSettled).toBe(true)
  })

  test('that were answered too late get no receipt in the next session, and are handed over again', () => {
    const uplink = connected()
    uplink.handOver(2)
    uplink.cut()
    uplink.advance(10_000)
    uplink.dialled()
    uplink.welcome(100_000)
    uplink.answerCommands(0)
    expect(uplink.commands.receipted.size).toBe(0)
    uplink.handOver(0)
    uplink.answerCommands(0)
    expect(uplink.commands.isSettled).toBe(true)
  })

  test('are receipted in messages that the cloud takes, however many there are', () => {
    const uplink = connected()
    uplink.handOver(1_200)
    const effects = uplink.commands.answer(0, 3)
    if (effects === null) throw new Error('nothing was taken')
    const lengths = uplink
      .input({ kind: 'commandsTaken', ...effects })
      .flatMap((effect) => (effect.kind === 'receipts' ? [effect.stored.length + effect.refused.length] : []))
    expect(lengths).toEqual([500, 500, 200])
    expect(uplink.commands.receipted.size).toBe(effects.stored.length)
  })

  test('are left to the cloud while stopping, cancellations are not', () => {
    const uplink = connected()
    uplink.append('telemetry', 10)
    while (uplink.reads.length > 0) uplink.completeRead(0)
    uplink.handOver(1)
    uplink.input({ kind: 'stop' })
    expect(uplink.state.name).toBe('stopping')
    uplink.handOver(1)
    uplink.message({ $case: 'commandCancellations', value: { commandIds: ['cmd-0'] } })
    expect(uplink.commands.taken.length).toBe(1)
    expect([...uplink.commands.cancelled]).toEqual(['cmd-0'])
    uplink.answerCommands(0)
    expect([...uplink.commands.receipted]).toEqual(['cmd-0'])
  })

  test('are odd without an inbox', () => {
    const uplink = connected({ takesCommands: false })
    uplink.handOver(1)
    uplink.message({ $case: 'commandCancellations', value: { commandIds: ['cmd-0'] } })
    expect(uplink.effectsSeen.filter((kind) => kind === 'odd').length).toBe(2)
    expect(uplink.commands.taken).toEqual([])
  })

  test('before the Welcome end the session', () => {
    const uplink = new SimulatedUplink()
    uplink.advance(0)
    uplink.dialled()
    uplink.message({ $case: 'commands', value: { commands: [] } })
    expect(uplink.state.name).toBe('offline')
  })
})

test("the cloud's clock is told as of the moment when Hello was sent, so that it is early, never late", () => {
  const uplink = new SimulatedUplink()
  uplink.advance(0)
  uplink.dialled()
  const helloAt = uplink.now
  uplink.now += 700
  const effects = uplink.input({
    kind: 'message',
    response: {
      message: { $case: 'welcome', value: { cursors: [], creditBytes: 0, wallClockMs: 5_000, strictOrder: false } },
    },
  })
  expect(effects).toContainEqual(expect.objectContaining({ kind: 'connected', cloudWallMs: 5_000, helloAt }))
})
