/** Can any device log in. */

import { BusbarError } from '../../../shared/errors.ts'
import { type Credential, listCredentials } from '../../broker/credentials.ts'
import { dataPaths, type EdgeConfig } from '../../config.ts'
import { type Finding, fail, ok, warn } from './finding.ts'

export function checkCredentials(config: EdgeConfig): Finding {
  const file = dataPaths(config).credentialsFile
  let credentials: Credential[]
  try {
    credentials = listCredentials(file)
  } catch (error) {
    if (!(error instanceof BusbarError)) throw error
    return fail('credentials', error.message, error.hint ?? 'Restore it from a backup.')
  }
  const devices = credentials.filter((credential) => credential.role === 'device').length
  const others = credentials.length - devices
  if (config.mqtt.insecure) {
    return warn('credentials', 'mqtt.insecure lets everyone in', 'Set it to false outside a workbench.')
  }
  if (devices === 0) {
    return warn('credentials', 'no device can log in', 'Add one: busbar-edge device add --site 1 --serial INV-001')
  }
  return ok('credentials', `${devices} devices and ${others} others can log in`)
}
