/** Can any device log in. */

import { BusbarError } from '../../../shared/errors.ts'
import { listIssued } from '../../authority/authority-files.ts'
import { listRevoked } from '../../authority/revocations.ts'
import { type Credential, listCredentials } from '../../broker/credentials.ts'
import { dataPaths, type EdgeConfig } from '../../config.ts'
import { type Finding, fail, ok, warn } from './finding.ts'

export function checkCredentials(config: EdgeConfig): Finding {
  const { credentialsFile, authorityDir } = dataPaths(config)
  let credentials: Credential[]
  let certificates: number
  try {
    credentials = listCredentials(credentialsFile)
    const revoked = new Set(listRevoked(authorityDir).map(({ number }) => number))
    certificates = listIssued(authorityDir).filter(({ number }) => !revoked.has(number)).length
  } catch (error) {
    if (!(error instanceof BusbarError)) throw error
    return fail('credentials', error.message, error.hint ?? 'Restore it from a backup.')
  }
  const devices = credentials.filter((credential) => credential.role === 'device').length
  const others = credentials.length - devices
  if (config.mqtt.insecure) {
    return warn('credentials', 'mqtt.insecure lets everyone in', 'Set it to false outside a workbench.')
  }
  if (devices === 0 && certificates === 0) {
    return warn('credentials', 'no device can log in', 'Add one: busbar-edge device add --site 1 --serial INV-001')
  }
  const byCertificate = certificates === 0 ? '' : `, and who has one of ${certificates} certificates`
  return ok('credentials', `${devices} devices and ${others} others can log in${byCertificate}`)
}
