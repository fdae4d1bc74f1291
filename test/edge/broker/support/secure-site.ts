/** A broker with TLS and the authority of its site, and certificates to knock with. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CertificateName } from '../../../../edge/authority/certificate-name.ts'
import { siteServerCertificate } from '../../../../edge/authority/server-certificate.ts'
import { initAuthority, SiteAuthority } from '../../../../edge/authority/site-authority.ts'
import { type Clock, systemClock } from '../../../../shared/clock.ts'
import { systemRandom } from '../../../../shared/random.ts'
import { type Site, type SiteOptions, startSite } from './site.ts'

/** PEM. */
export interface Pair {
  readonly cert: string
  readonly key: string
}

export interface TestAuthority {
  readonly dir: string
  /** PEM. */
  readonly ca: string
  issue(name: CertificateName, days?: number): Promise<Pair>
  /** As if it had been issued `wallMs` after 1970. */
  issueAt(wallMs: number, name: CertificateName, days: number): Promise<Pair>
  remove(): void
}

/** Clocks that look at things far more often than real ones, so that nobody waits a second for what changed. */
export const hastyClock: Clock = {
  ...systemClock,
  every: (periodMs, fn) => systemClock.every(periodMs === 1000 ? 20 : periodMs, fn),
}

export const device = (serialNumber: string, siteId = 1) => ({ role: 'device', siteId, serialNumber }) as const

/** @param wallMs when it was made. */
export async function newSiteAuthority(wallMs = systemClock.wallMs()): Promise<TestAuthority> {
  const dir = mkdtempSync(join(tmpdir(), 'busbar-authority-'))
  const toolsAt = (at: number) => ({ clock: { ...systemClock, wallMs: () => at }, random: systemRandom })
  const { certificate } = await initAuthority(dir, { gatewayId: 'gateway-1', days: 3650 }, toolsAt(wallMs))
  const issueAt = async (at: number, name: CertificateName, days: number): Promise<Pair> => {
    const { certificate: cert, key } = await new SiteAuthority(dir, toolsAt(at)).issueClient(name, days, null)
    return { cert, key: key ?? '' }
  }
  return {
    dir,
    ca: certificate,
    issueAt,
    issue: (name, days = 30) => issueAt(systemClock.wallMs(), name, days),
    remove: () => rmSync(dir, { recursive: true }),
  }
}

export interface SecureSite extends Site {
  readonly tlsPort: number
}

/** Listens with TLS and in the clear; needs a login. */
export async function startSecureSite(authority: TestAuthority, options: SiteOptions = {}): Promise<SecureSite> {
  const clock = options.clock ?? hastyClock
  const bind = { host: '127.0.0.1', port: 0 }
  const site = await startSite({
    insecure: false,
    listeners: {
      tcp: bind,
      tls: bind,
      certificate: siteServerCertificate(authority.dir, { clock, random: systemRandom }),
    },
    certificates: { authorityDir: authority.dir, otherAuthorities: '', required: false },
    ...options,
    clock,
  })
  return Object.assign(site, { tlsPort: site.broker.addresses().tls?.port ?? 0 })
}
