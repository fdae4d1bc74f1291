/** The catalogue of activity types: those that the core writes itself, and what the config adds. Pure. */

/** Form of an activity type. */
export const ACTIVITY_TYPE_PATTERN = '^[a-z][a-z0-9_.:-]{0,63}$'

/**
 * What the core writes besides the operations of its API, each with what it means. The type of an operation that changes
 * something is its operationId in snake case, such as `create_command`, unless the route names one of these.
 */
const OWN_TYPES = {
  login: 'Somebody logged in, or tried to: see outcome',
  logout: 'Somebody ended a login',
  login_refreshed: 'A login was prolonged',
  access_refused: 'A request was refused for who sent it, or where it came from',
  websocket_connect: 'A WebSocket was opened',
  command: 'A command was given to a device',
  task: 'A command was given to many devices',
  export: 'Somebody took data out',
  activity_log_purged: 'A day of the activity log was removed because of its age',
} as const satisfies Readonly<Record<string, string>>

/** What others than the core are known to write. */
const KNOWN_TYPES = {
  login_failed: 'A login failed',
  page_view: 'Somebody looked at a page',
  settings_changed: 'Somebody changed settings',
} as const satisfies Readonly<Record<string, string>>

export interface ActivityTypeEntry {
  readonly type: string
  readonly description: string
  /** `core`: the core writes it; `known`: others do; `config`: the config names it. */
  readonly origin: 'core' | 'known' | 'config'
}

export class ActivityTypes {
  /** By type, in alphabetical order. */
  readonly entries: readonly ActivityTypeEntry[]
  private readonly types: ReadonlySet<string>

  /**
   * @param operations of the API that change something: type and summary.
   * @param configured of the config.
   */
  constructor(operations: ReadonlyMap<string, string>, configured: readonly string[]) {
    const all = new Map<string, ActivityTypeEntry>()
    const add = (type: string, description: string, origin: ActivityTypeEntry['origin']): void => {
      if (!all.has(type)) all.set(type, { type, description, origin })
    }
    for (const [type, description] of Object.entries(OWN_TYPES)) add(type, description, 'core')
    for (const [type, description] of operations) add(type, description, 'core')
    for (const [type, description] of Object.entries(KNOWN_TYPES)) add(type, description, 'known')
    for (const type of configured) add(type, 'Named in activity.types', 'config')
    this.entries = [...all.values()].sort((a, b) => (a.type < b.type ? -1 : 1))
    this.types = new Set(all.keys())
  }

  has(type: string): boolean {
    return this.types.has(type)
  }
}

/** The activity type of an operation: `createAlertRule` is `create_alert_rule`. */
export function activityTypeOf(operationId: string): string {
  return operationId.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}
