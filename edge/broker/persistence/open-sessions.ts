/** Reads what an earlier run stored of its sessions. A file that cannot be read must not keep the broker from starting. */

import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { BusbarError, messageOf } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/log.ts'
import { isDamage, sqliteCode } from '../../../shared/sqlite.ts'
import { setDamagedAside } from '../../journal/damaged-file.ts'
import { type SessionImage, SessionTables } from './session-tables.ts'

const EMPTY: SessionImage = {
  sessions: [],
  subscriptions: [],
  queued: [],
  received: [],
  retained: [],
  wills: [],
  present: [],
}

export interface LoadedSessions extends SessionImage {
  /** Why what is on disk has to be left alone in this run: the disk is full or broken. */
  readonly failing?: string
}

export function sessionsPath(dir: string): string {
  return join(dir, 'sessions.db')
}

/**
 * The image in `dir`/sessions.db; empty when there is none. A damaged file is set aside under a name ending in `.damaged`.
 * @throws BusbarError SESSIONS_UNREADABLE when the file is sound but cannot be opened.
 */
export function loadSessions(dir: string, log: Logger): LoadedSessions {
  const path = sessionsPath(dir)
  try {
    mkdirSync(dir, { recursive: true })
    if (!existsSync(path)) return EMPTY
    const tables = new SessionTables(path)
    try {
      return tables.load()
    } finally {
      tables.close()
    }
  } catch (error) {
    const code = sqliteCode(error) ?? ''
    if (/^SQLITE_(FULL|IOERR)/.test(code)) {
      const failing = `${path} cannot be read: ${messageOf(error)}; sessions are kept in memory until the next start`
      log.error({ path, code: 'SESSIONS_UNREADABLE' }, failing)
      return { ...EMPTY, failing }
    }
    if (!isDamage(error)) throw unreadable(path, error)
    setDamagedAside(path)
    log.error(
      { path, error: messageOf(error), code: 'SESSIONS_DAMAGED' },
      'MQTT sessions and retained messages are lost: their file is damaged and was set aside. Readings are not concerned.',
    )
    return EMPTY
  }
}

function unreadable(path: string, cause: unknown): BusbarError {
  return new BusbarError(`cannot open ${path}: ${messageOf(cause)}`, {
    code: 'SESSIONS_UNREADABLE',
    hint: 'Check that the directory belongs to the user that runs busbar-edge and that the disk is not full.',
    cause,
  })
}
