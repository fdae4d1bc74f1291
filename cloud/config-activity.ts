/** Settings of the activity log: what is kept of who did what, how it is sealed, and what counts as suspicious. */

import { bytes, count, flag, KiB, list, milliseconds, secretText, section, text } from '../shared/config/keys.ts'
import { ACTIVITY_TYPE_PATTERN } from './activity/activity-types.ts'

export const activity = section('Who did what.', {
  types: list(
    [],
    'Activity types besides the known ones (busbar-cloud activity types), such as those of your own programs; what is of ' +
      'any other type is refused',
    'types such as "switching_order_signed"',
    ACTIVITY_TYPE_PATTERN,
  ),
  retentionDays: count(
    365,
    [1, 36_500],
    'days',
    'How long entries are kept; a day goes whole, and its hash stays to show that it was there',
  ),
  sensitiveFields: list(
    ['ipAddress', 'userAgent'],
    'Members of metadata that are encrypted where they are stored, and shown to auditors alone; what is set counts from then on',
    'names of members',
    '^.{1,128}$',
  ),
  keys: secretText(
    '',
    'Keys that encrypt them and sign the chain of hashes: 32 random bytes or more in base64, separated by spaces or lines, ' +
      'the first for what is new and all for what is there; empty means the key in identity.masterKeyFile, which comes second here at the first change',
    'keys as "openssl rand -base64 32" prints them',
  ),
  batchMax: count(1_000, [1, 10_000], 'activities', 'Activities of one request; a longer list is refused'),
  ownPerMinute: count(
    1_000,
    [1, 1_000_000],
    'activities',
    'Activities that one person may record in a minute, at each core; more are refused with the time to wait. Programs, which ' +
      'have a key for it, have no such limit',
  ),
  metadataBytesMax: bytes(16 * KiB, [256, 256 * KiB], 'Largest metadata of one activity, as JSON; larger is refused'),
  futureToleranceMs: milliseconds(
    300_000,
    [0, 86_400_000],
    'How far in the future the timestamp of an activity may lie; one beyond it is refused',
  ),
  recordWaitMs: milliseconds(
    2_000,
    [0, 60_000],
    'How long an answer waits for its entry to be stored; after that it is given, and the entry is stored when the database is back',
  ),
  pendingMax: count(
    10_000,
    [100, 1_000_000],
    'entries',
    'Entries that may wait in memory for the database; at one more it is in the log of the program alone, and counted',
  ),
  refusalsPerMinute: count(
    600,
    [1, 1_000_000],
    'entries',
    'Entries of refused requests in a minute, at each core, a tenth of them of one login or address; more are counted, and the next entry says how many',
  ),
  windowMs: milliseconds(
    60_000,
    [1_000, 3_600_000],
    'Length of the windows that user-activity-analytics counts activities in',
  ),
  suspicion: section('What of it administrators and auditors are told of.', {
    failedLogins: count(5, [0, 10_000], 'failures', 'Failed logins of one user within failedLoginsMs; 0 for never'),
    failedLoginsMs: milliseconds(300_000, [1_000, 86_400_000], 'Time in which failed logins are counted'),
    commands: count(50, [0, 100_000], 'commands', 'Commands and tasks of one user within commandsMs; 0 for never'),
    commandsMs: milliseconds(60_000, [1_000, 86_400_000], 'Time in which commands are counted'),
    newAddress: flag(true, 'A login from an address that the user has not used before'),
    addressDays: count(90, [1, 3_650], 'days', 'How long an address that is not used is remembered'),
    unusualHours: flag(true, 'A login at an hour at which the user is not at work'),
    unusualHoursDays: count(
      14,
      [1, 365],
      'days',
      'Days of logins that have to be known of a user before an hour counts as unusual',
    ),
    timeZone: text('UTC', 'Time zone that hours are counted in', 'an IANA time zone such as "Europe/Zurich"'),
  }),
})
