/** A gateway that is enrolled: its file, its uplink with a real spool, and what renews its certificate. */

import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { type EnrolledIdentity, IdentityFile } from '../../edge/identity/identity-file.ts'
import { CertificateRenewal, type RenewalOptions } from '../../edge/identity/renewal.ts'
import { gatewayCredentials } from '../../edge/identity/uplink-credentials.ts'
import type { UplinkOptions } from '../../edge/uplink/options.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { CLOUD_NAME } from './enrolment-cloud.ts'
import type { MadeAuthority, MadePair } from './made-certificates.ts'
import { startSpool } from './spool.ts'
import { tempDir } from './temp-dir.ts'
import { startUplink } from './uplink-under-test.ts'

export function identityOf(
  authority: MadeAuthority,
  { cert, key }: MadePair,
  changes: Partial<EnrolledIdentity> = {},
): EnrolledIdentity {
  return {
    gatewayId: 'gw-1',
    url: 'https://127.0.0.1:1',
    apiAuthority: null,
    ingestAddress: '127.0.0.1:1',
    serverName: CLOUD_NAME,
    privateKey: key,
    certificate: cert,
    authority: authority.ca,
    ...changes,
  }
}

/** Started; stopped when the test ends. */
export async function enrolledGateway(
  port: number,
  identity: EnrolledIdentity | null,
  options: { uplink?: Partial<UplinkOptions>; renewal?: Partial<RenewalOptions> } = {},
) {
  const dir = join(await tempDir(), 'identity')
  if (identity !== null) new IdentityFile(dir).write(identity)
  const address = `127.0.0.1:${port}`
  const none = { caFile: '', certFile: '', keyFile: '', serverName: '' }
  const credentials = gatewayCredentials('gw-1', dir, { address, insecure: false, tls: none })
  const file = credentials.file as IdentityFile
  const spool = await startSpool(await tempDir())
  const uplink = await startUplink(spool, port, { credentials, ...options.uplink })
  const renewal = new CertificateRenewal({
    file,
    gatewayId: 'gw-1',
    uplink,
    lookMs: 20,
    retry: { baseMs: 20, capMs: 200 },
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    ...options.renewal,
  })
  await renewal.start()
  onTestFinished(() => renewal.stop())
  return { dir, file, spool, uplink, renewal }
}
