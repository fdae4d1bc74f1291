/** Settings of analytics, statuses, alerts, notifications, and of consumers that meet a record they cannot handle. */

import {
  bytes,
  count,
  flag,
  KiB,
  MiB,
  milliseconds,
  numbers,
  secretText,
  section,
  text,
} from '../shared/config/keys.ts'

export const telemetry = section('Readings kept in the database, and what they are rolled up to.', {
  rawDays: count(30, [1, 3_650], 'days', 'How long readings are kept as they came'),
  rollup1mDays: count(90, [1, 3_650], 'days', 'How long the roll-ups of a minute are kept'),
  rollup15mDays: count(730, [1, 36_500], 'days', 'How long the roll-ups of 15 minutes are kept'),
  rollup1hDays: count(3_650, [1, 36_500], 'days', 'How long the roll-ups of an hour are kept'),
  rollup1dDays: count(36_500, [1, 36_500], 'days', 'How long the roll-ups of a day are kept'),
  acceptedAgeDays: count(
    400,
    [1, 3_650],
    'days',
    'How old a reading may be when it arrives; an older one is a dead letter, since each day takes a table of its own',
  ),
  rollUpDelayMs: milliseconds(
    2_000,
    [100, 600_000],
    'How long readings gather before they are rolled up: a chart over long ranges is behind by so much',
  ),
  seriesPointsMax: count(5_000, [100, 100_000], 'points', 'Points of one series that an answer may have'),
  seriesMax: count(50, [1, 1_000], 'series', 'Series, a field of a device each, of one answer; more are refused'),
})

export const status = section('When a device or a gateway counts as offline.', {
  silentAfterMs: milliseconds(
    900_000,
    [0, 2_592_000_000],
    'A device of which nothing was heard for longer is OFFLINE, where it has no time of its own; 0 for never',
  ),
  silentAfterMsByType: numbers(
    { METER: 3_600_000 },
    [0, 2_592_000_000],
    'The same for devices of a type',
    'milliseconds from 0 to 2592000000 by device type; what is set replaces the whole table',
  ),
  gatewayOfflineAfterMs: milliseconds(
    60_000,
    [1_000, 86_400_000],
    'A gateway that is not connected for longer is told of, once for all its devices',
  ),
  checkPeriodMs: milliseconds(5_000, [100, 600_000], 'How often devices and gateways are looked at'),
  historyDays: count(730, [1, 36_500], 'days', 'How long changes of status are kept'),
})

export const alerts = section('Alert rules.', {
  rulesMax: count(1_000, [1, 100_000], 'rules', 'Rules there may be; another one is refused'),
  freshMs: milliseconds(
    60_000,
    [0, 86_400_000],
    'What waited in a gateway for longer opens no alarm; what it would have opened is recorded as past',
  ),
  rulesRefreshMs: milliseconds(2_000, [100, 600_000], 'How long a rule that another core changed may go unseen'),
  keptDays: count(730, [1, 36_500], 'days', 'How long closed alerts are kept'),
})

export const notifications = section('Notifications to people.', {
  keptDays: count(90, [1, 3_650], 'days', 'How long notifications are kept'),
  burstNotices: count(
    3,
    [1, 1_000],
    'notices',
    'Status notices of one gateway that are told one by one; those that follow at once are told together',
  ),
  alertBurstNotices: count(
    20,
    [1, 1_000],
    'notices',
    'Alerts of one rule, opening or closing, that are told one by one; those that follow at once are told together',
  ),
  burstWindowMs: milliseconds(30_000, [100, 3_600_000], 'How long such a burst gathers before it is told'),
  webhook: section('Where notifications are posted to, such as a push or e-mail system.', {
    url: text('', 'An http or https URL; empty for none', 'a URL', '^(https?://[^\\s/?#]+\\S*)?$'),
    secret: secretText(
      '',
      'Key of the signature; better in a file of its own or in the environment',
      '16 characters or more, or whsec_ and a key in base64',
      '^(whsec_[A-Za-z0-9+/]{22,}={0,2}|(?!whsec_).{16,})?$',
    ),
    timeoutMs: milliseconds(10_000, [100, 120_000], 'How long an answer may take'),
    maxAgeHours: count(
      24,
      [1, 8_760],
      'hours',
      'An older notification, as after a long outage of the receiver, is not posted any more',
    ),
    quiet: flag(false, 'Post what comes within the quiet hours of its user as well'),
    breakerFailures: count(5, [1, 1_000], 'failures', 'Failures in a row after which nothing is posted for a while'),
    breakerOpenMs: milliseconds(30_000, [100, 3_600_000], 'How long that while is'),
  }),
})

export const consumers = section('What consumers do with a record that they cannot handle.', {
  retries: count(
    8,
    [0, 100],
    'tries',
    'Tries with a growing pause, after the three immediate ones, before it is a dead letter',
  ),
  deviceRetries: count(3, [0, 100], 'tries', 'The same for readings and changes of status'),
  retryBaseMs: milliseconds(
    1_000,
    [10, 300_000],
    'Upper bound of the first pause; each further one is up to twice as long',
  ),
  retryCapMs: milliseconds(300_000, [10, 3_600_000], 'Upper bound of every pause'),
  parkedMax: count(
    10_000,
    [10, 10_000_000],
    'records',
    'Records of one consumer that may be set aside, those behind them included; beyond it no pause is waited for; at twice as many the consumer waits, and what comes of a key that has a tenth of them is a dead letter at once',
  ),
})

export const deadLetters = section('The list of dead letters; the topics themselves have their own retention.', {
  keptDays: count(30, [1, 365], 'days', 'How long they are listed, from when the bus took them in'),
  keptMax: count(
    100_000,
    [100, 1_000_000],
    'dead letters',
    'How many are listed, looked at once a minute; beyond it the oldest leave the list, and can be replayed no more',
  ),
  valueBytesMax: bytes(
    1 * MiB,
    [1 * KiB, 16 * MiB],
    'A larger one is listed without its value, and cannot be replayed',
  ),
})
