import { describe, expect, test } from 'vitest'
import { CERTIFICATE_ANSWER } from '../../support/simulated-certificates.ts'
import { SimulatedUplink } from '../../support/simulated-uplink.ts'

const csrDer = Buffer.from('csr')

function connected(): SimulatedUplink {
  const uplink = new SimulatedUplink()
  uplink.advance(0)
  uplink.dialled()
  uplink.welcome(100_000)
  return uplink
}

/** With three records on their way that the cloud took, and one more that came later. */
function busy(): SimulatedUplink {
  const uplink = connected()
  for (let i = 0; i < 3; i++) uplink.append('telemetry', 100)
  while (uplink.reads.length > 0) uplink.completeRead(0)
  while (uplink.up.length > 0) uplink.take()
  uplink.append('telemetry', 100)
  return uplink
}

describe('other certificates', () => {
  test('wait until what is on its way is acknowledged, while nothing more is sent', () => {
    const uplink = busy()
    const onTheWay = uplink.taken.length
    expect(onTheWay).toBeGreaterThan(0)
    uplink.input({ kind: 'credentialsChanged' })
    uplink.writable()
    uplink.completeRead(0)
    expect(uplink.up).toEqual([])
    for (let i = 0; i < onTheWay; i++) {
      expect(uplink.state.name).toBe('streaming')
      uplink.acknowledge(0)
    }
    expect(uplink.state).toMatchObject({ name: 'offline', retryAt: uplink.now, attempt: 0 })
    uplink.settle()
    expect(uplink.isDrained).toBe(true)
  })

  test('do not wait long for a cloud that acknowledges nothing; what it took comes again', () => {
    const uplink = busy()
    uplink.input({ kind: 'credentialsChanged' })
    uplink.advance(uplink.rules.stopTimeoutMs)
    expect(uplink.state.name).toBe('offline')
    uplink.settle()
    expect(uplink.isDrained).toBe(true)
  })

  test('are dialled with at once, however long the next try was away', () => {
    const uplink = new SimulatedUplink({ backoff: { baseMs: 3_600_000, capMs: 3_600_000 } })
    uplink.advance(0)
    uplink.cut()
    expect(uplink.state.name).toBe('offline')
    uplink.input({ kind: 'credentialsChanged' })
    expect(uplink.state.name).toBe('dialling')
    uplink.input({ kind: 'credentialsChanged' })
    uplink.advance(0)
    expect(uplink.state).toMatchObject({ name: 'dialling', session: 3 })
  })
})

describe('a certificate that is asked for', () => {
  test('is answered once, and an answer that comes again is odd', () => {
    const uplink = connected()
    uplink.input({ kind: 'certificateWanted', csrDer })
    uplink.message(CERTIFICATE_ANSWER)
    uplink.message(CERTIFICATE_ANSWER)
    expect(uplink.certificates).toMatchObject({ asked: 1, answered: 1, unanswered: [] })
    expect(uplink.effectsSeen.at(-1)).toBe('odd')
    expect(uplink.state.name).toBe('streaming')
  })

  test.each([
    [
      'a cloud that is too old to know of it',
      (u: SimulatedUplink) => u.advance(u.rules.certificateTimeoutMs),
      'timeout',
    ],
    ['a link that is cut', (u: SimulatedUplink) => u.cut(), 'sessionEnded'],
    ['a stop', (u: SimulatedUplink) => void u.input({ kind: 'stop' }), 'sessionEnded'],
    ['other certificates', (u: SimulatedUplink) => void u.input({ kind: 'credentialsChanged' }), 'sessionEnded'],
    ['a damaged spool', (u: SimulatedUplink) => u.replaceSpool(), 'sessionEnded'],
  ])('is given up after %s', (_what, end, reason) => {
    const uplink = connected()
    uplink.input({ kind: 'certificateWanted', csrDer })
    end(uplink)
    expect(uplink.certificates).toMatchObject({ unanswered: [reason], underWay: false })
  })

  test('is one at a time, and none without a session', () => {
    const uplink = connected()
    uplink.input({ kind: 'certificateWanted', csrDer })
    uplink.input({ kind: 'certificateWanted', csrDer })
    expect(uplink.certificates).toMatchObject({ asked: 1, unanswered: ['underWay'], underWay: true })
    uplink.cut()
    uplink.input({ kind: 'certificateWanted', csrDer })
    expect(uplink.certificates.unanswered).toEqual(['underWay', 'sessionEnded', 'notConnected'])
  })
})
