import { describe, expect, it } from 'vitest'
import { type CertificateFacts, certificateStatus } from '../../../edge/identity/certificate-status.ts'
import { renewAtMs, stateAt } from '../../../edge/identity/validity.ts'
import { DAY_MS } from '../../../shared/durations.ts'

const BEGIN = Date.UTC(2026, 0, 1)
const validity = { notBeforeMs: BEGIN, notAfterMs: BEGIN + 90 * DAY_MS }

function status(changes: Partial<CertificateFacts> & { day?: number }) {
  const { day = 10, ...facts } = changes
  return certificateStatus({
    source: 'enrolment',
    validity,
    renewAtMs: renewAtMs(validity, 0),
    nowMs: BEGIN + day * DAY_MS,
    lastRenewalError: null,
    renewalRefused: false,
    renewals: 0,
    uplink: { connected: true, lastErrorCode: null, lastError: null },
    ...facts,
  })
}

describe('the certificate of a gateway', () => {
  it.each([
    [
      { validity: null, uplink: { connected: false, lastErrorCode: 'NOT_ENROLLED', lastError: 'not enrolled' } },
      'none',
    ],
    [{ day: 10 }, 'good'],
    [{ day: 61 }, 'renewing'],
    [{ day: 61, lastRenewalError: 'cut' }, 'renewing'],
    [{ day: 61, lastRenewalError: 'no', renewalRefused: true }, 'refused'],
    [{ day: 91 }, 'expired'],
    [{ day: -1 }, 'notYetValid'],
    [{ uplink: { connected: false, lastErrorCode: 'UPLINK_REFUSED', lastError: 'revoked' } }, 'refused'],
    [{ uplink: { connected: false, lastErrorCode: 'UPLINK_UNREACHABLE', lastError: 'away' } }, 'good'],
    [{ source: 'files', renewAtMs: null, day: 80 }, 'good'],
    [{ source: 'files', renewAtMs: null, day: 91 }, 'expired'],
    [{ source: 'none', validity: null }, 'none'],
  ] as [Partial<CertificateFacts> & { day?: number }, string][])('by %j is %s', (facts, state) => {
    expect(status(facts).state).toBe(state)
  })

  it('comes with advice wherever something is to be done, and with none where nothing is', () => {
    expect(status({}).advice).toBeNull()
    expect(status({ source: 'none', validity: null }).advice).toBeNull()
    expect(status({ day: -400 }).advice).toMatch(/the clock says .*: check the clock/)
    expect(status({ day: 91 }).advice).toMatch(/check the clock; if it is right, it is being renewed/)
    expect(status({ day: 91, source: 'files' }).advice).toContain('renew uplink.tls.certFile')
    expect(status({ day: 61, lastRenewalError: 'no', renewalRefused: true }).advice).toContain('enroll --replace')
  })

  it('tells its dates and the days that are left', () => {
    expect(status({ day: 10 })).toMatchObject({
      notBefore: '2026-01-01T00:00:00.000Z',
      notAfter: '2026-04-01T00:00:00.000Z',
      daysLeft: 80,
    })
    expect(status({ day: 91 }).daysLeft).toBe(-1)
  })

  it('is never renewed before it begins', () => {
    expect(stateAt(validity, renewAtMs(validity, 0.5), 0)).toBe('notYetValid')
  })
})
