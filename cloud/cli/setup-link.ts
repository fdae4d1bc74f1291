/**
 * The link by which the first administrator is made: printed by `busbar-cloud serve` while there is none, and by
 * `busbar-cloud setup-link` for whoever has lost it. It goes to standard output and never into a log.
 */

import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import { HOUR_MS } from '../../shared/durations.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { CloudConfig } from '../config.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Lockout } from '../identity/lockout.ts'
import { type OneTimeLink, OneTimeLinks } from '../identity/one-time-links.ts'
import { Passwords } from '../identity/passwords.ts'
import { Setup } from '../identity/setup.ts'
import { requireDatabase } from './present-database.ts'

/** Where people reach the core. @param port where it listens, when the config lets it take any. */
export function publicUrlOf({ api }: CloudConfig, port: number = api.port): string {
  if (api.publicUrl !== '') return api.publicUrl
  const host = api.host.includes(':') && !api.host.startsWith('[') ? `[${api.host}]` : api.host
  return `${api.tls.enabled ? 'https' : 'http'}://${host}:${port}`
}

/** What is printed for people. The token is behind the #, which no browser sends. */
export function setupLinkText(publicUrl: string, { token, expiresAtMs }: OneTimeLink): string {
  return `
Nobody administers Busbar yet. Whoever opens this link becomes the administrator; it is good once,
until ${new Date(expiresAtMs).toISOString()}:

  ${publicUrl}/setup#${token}

`
}

/**
 * A new link; those before stay good until one is used.
 * @throws BusbarError SETUP_DONE when there is an administrator, DATABASE_MISSING when no core has made the database yet.
 */
export async function makeSetupLink(
  config: CloudConfig,
  tools: {
    readonly database: DatabaseHandle
    readonly clock: Clock
    readonly random: Random
    readonly log: Logger
  },
  terminal: Terminal,
): Promise<number> {
  const { database, clock, random, log } = tools
  const settings = config.identity
  requireDatabase(config.database, 'a link would be good nowhere')
  const events = { note: () => undefined }
  const links = new OneTimeLinks({ database, clock, random, lifetimeMs: settings.setupLinkHours * HOUR_MS })
  const lockout = new Lockout({ database, clock, events, settings })
  const passwords = new Passwords(settings)
  try {
    await database.start()
    const link = await new Setup({ database, links, passwords, lockout, events, clock, log }).ensureSetupLink()
    if (link === null) {
      throw new BusbarError('somebody administers everything already', {
        code: 'SETUP_DONE',
        hint: 'an administrator lets others in: `busbar-cloud user add`, `busbar-cloud user password-link`',
      })
    }
    terminal.out(`${publicUrlOf(config)}/setup#${link.token}\n`)
    terminal.err(`good once, until ${new Date(link.expiresAtMs).toISOString()}\n`)
    return EXIT_OK
  } finally {
    await database.stop()
  }
}
