/** Logins of an edge under test, many at once; `addCredential` writes and syncs the file for every single one. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { type Credential, hashSecret, listCredentials } from '../../edge/broker/credentials.ts'
import { deviceTopic } from '../../shared/mqtt-topics.ts'
import { randomHex, systemRandom } from '../../shared/random.ts'
import type { LoadDevice } from './mqtt-load-spec.ts'

export interface Login {
  readonly username: string
  readonly password: string
}

export interface DeviceName {
  readonly siteId: number
  readonly serialNumber: string
}

/** Adds devices and observers to the credentials file; returns their logins by username, a device's serial number. */
export function addLogins(
  file: string,
  names: { readonly devices?: readonly DeviceName[]; readonly observers?: readonly string[] },
): Map<string, Login> {
  const credentials = listCredentials(file)
  const logins = new Map<string, Login>()
  const add = (who: Pick<Credential, 'username' | 'role' | 'siteId' | 'serialNumber'>): void => {
    const password = randomHex(systemRandom, 16)
    logins.set(who.username, { username: who.username, password })
    credentials.push({ ...who, secretSha256: hashSecret(password), createdAt: '2026-01-01T00:00:00.000Z' })
  }
  for (const { siteId, serialNumber } of names.devices ?? []) {
    add({ username: serialNumber, role: 'device', siteId, serialNumber })
  }
  for (const username of names.observers ?? []) add({ username, role: 'observer' })
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, JSON.stringify(credentials), { mode: 0o600 })
  return logins
}

/** `count` devices INV-0001 … and MTR-0001 … in turn. */
export function deviceNames(count: number, siteId = 1): DeviceName[] {
  return Array.from({ length: count }, (_, i) => ({
    siteId,
    serialNumber: `${i % 2 === 0 ? 'INV' : 'MTR'}-${String(Math.floor(i / 2) + 1).padStart(4, '0')}`,
  }))
}

/** The devices as the load generator plays them. */
export function loadDevices(names: readonly DeviceName[], logins?: ReadonlyMap<string, Login>): LoadDevice[] {
  return names.map(({ siteId, serialNumber }) => ({
    clientId: serialNumber,
    topic: deviceTopic(siteId, serialNumber, 'telemetry'),
    ...logins?.get(serialNumber),
  }))
}
