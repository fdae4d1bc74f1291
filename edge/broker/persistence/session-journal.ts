/**
 * The journal of sessions.db. Sessions belong to observers and to QoS 2 handshakes; a device's reading is in the spool. So a
 * disk that refuses sessions.db does not stop the broker. Most gateways have no durable session at all, hence no thread.
 */

import { workerUrl } from '../../../shared/worker-url.ts'
import { GroupJournal, type GroupJournalOptions } from '../../journal/group-journal.ts'
import type { SessionChange } from './session-tables.ts'

export type SessionJournalOptions = Omit<GroupJournalOptions<SessionChange>, 'startThread' | 'texts'>

export class SessionJournal extends GroupJournal<SessionChange> {
  constructor(options: SessionJournalOptions) {
    super({
      ...options,
      startThread: () => new Worker(workerUrl('edge/broker/persistence/session-worker.ts')),
      texts: {
        refused:
          'MQTT sessions cannot be stored; they live in memory until they can. Check the disk and its permissions.',
        stored: 'MQTT sessions are stored again',
        gaveUp: 'too many changes wait for the disk; sessions are kept in memory until the next start',
      },
    })
  }
}
