/** Prometheus metrics of who logs in, and of who does not belong. */

import { labelled, type Metrics } from '../shared/metrics.ts'
import type { Access } from './access.ts'

export function accessMetrics({ counter }: Metrics, { security, identity }: Access): void {
  counter(
    'security_events',
    'What looked like somebody who does not belong',
    () => labelled('kind', security.stats()),
    ['kind'],
  )
  if (identity === null) return
  counter('logins', 'Logins opened', () => identity.stats().opened)
  counter('login_refreshes', 'Logins refreshed', () => identity.stats().refreshed)
  counter('login_failures', 'Wrong passwords', () => identity.stats().failures)
  counter('login_refusals', 'Attempts not looked at after too many failures', () => identity.stats().refused)
  counter('refresh_token_reuses', 'Refresh tokens that came a second time', () => identity.stats().reused)
}
