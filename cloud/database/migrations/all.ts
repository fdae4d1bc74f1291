/**
 * Every migration, ascending. One that has been released is never edited: a database out there has run it as it was.
 */

import type { Migration } from '../migrate.ts'
import { registry } from './0001-registry.ts'
import { commands } from './0002-commands.ts'
import { analytics } from './0003-analytics.ts'
import { identity } from './0004-identity.ts'
import { chat } from './0005-chat.ts'
import { activity } from './0006-activity.ts'

export const MIGRATIONS: readonly Migration[] = [registry, commands, analytics, identity, chat, activity]
