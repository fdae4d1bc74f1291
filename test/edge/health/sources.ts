/** Parts as the health server sees them, in a state that a test sets. */

import type { HealthSources, ListenerState } from '../../../edge/health/sources.ts'
import type { CertificateStatus } from '../../../edge/identity/certificate-status.ts'

export interface TestSources extends HealthSources {
  readonly set: {
    accepting: boolean
    failing: string | null
    telemetryBytes: number
    oldestWallMs: number | null
    diskFreeBytes: number
    listening: boolean
    connected: boolean
    certificate: CertificateStatus
  }
}

export function testSources(): TestSources {
  const set: TestSources['set'] = {
    accepting: true,
    failing: null,
    telemetryBytes: 1000,
    oldestWallMs: null,
    diskFreeBytes: 1_000_000,
    listening: true,
    connected: true,
    certificate: {
      source: 'enrolment',
      state: 'good',
      notBefore: '2026-01-01T00:00:00.000Z',
      notAfter: '2026-04-01T00:00:00.000Z',
      daysLeft: 90,
      lastRenewalError: null,
      renewals: 1,
      advice: null,
    },
  }
  const listener = (): ListenerState => ({ kind: 'tcp', host: '127.0.0.1', port: 1883, listening: set.listening })
  return {
    set,
    spool: {
      get accepting() {
        return set.accepting
      },
      pendingBytes: 7,
      stats: () => ({
        lanes: {
          priority: { records: 0, bytes: 0, oldestWallMs: null, nextSequence: 5 },
          telemetry: { records: 12, bytes: set.telemetryBytes, oldestWallMs: set.oldestWallMs, nextSequence: 99 },
        },
        appendedRecords: 40,
        commits: 4,
        bytesWritten: 5000,
        evicted: { bytes: 3, age: 0 },
        quarantinedBlocks: 1,
        diskFreeBytes: set.diskFreeBytes,
        failing: set.failing,
      }),
    },
    broker: {
      listeners: () => [listener()],
      devices: () => [{ siteId: 1, serialNumber: 'INV-001', connected: true, lastSeenWallMs: 1 }],
      stats: () => ({
        connections: 2,
        sessions: 3,
        connectionsAccepted: 9,
        publishesReceived: 40,
        refused: { 'bad-credentials': 6 },
        dropped: { 'slow-subscriber': 2 },
        halfOpen: 4,
        throttled: 5,
        lockouts: 1,
      }),
    },
    uplink: {
      stats: () => ({
        state: set.connected ? 'streaming' : 'offline',
        connected: set.connected,
        connectedSinceMs: set.connected ? Date.UTC(2026, 0, 1) : null,
        lastAckWallMs: null,
        sentRecords: 28,
        ackedRecords: 27,
        sentBytes: 2800,
        creditBytes: 1_000_000,
        reconnects: 1,
        lastError: set.connected ? null : 'ECONNREFUSED',
      }),
    },
    certificate: { status: () => set.certificate },
    commands: {
      stats: () => ({
        waiting: 4,
        sent: 1,
        delivered: 2,
        stored: 20,
        refused: 5,
        deliveries: 16,
        ended: { ANSWERED: 12, EXPIRED: 1 },
        failing: null,
      }),
    },
  }
}
