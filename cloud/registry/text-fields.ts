/** Checks of the texts and ids that people give. */

import { SERIAL_NUMBER_PATTERN } from '../../shared/mqtt-topics.ts'
import type { InvalidField } from './errors.ts'

/** Largest site id that fits in a topic. */
const SITE_ID_MAX = 999_999_999
const NAME_CHARS_MAX = 200
export const GATEWAY_ID_PATTERN = /^[A-Za-z0-9._:-]{1,64}$/

export function invalidSiteId(siteId: number): InvalidField[] {
  if (Number.isInteger(siteId) && siteId >= 1 && siteId <= SITE_ID_MAX) return []
  return [{ field: 'siteId', value: siteId, remedy: `an integer from 1 to ${SITE_ID_MAX}` }]
}

export function invalidGatewayId(id: string): InvalidField[] {
  if (GATEWAY_ID_PATTERN.test(id)) return []
  return [{ field: 'gatewayId', value: id, remedy: '1 to 64 letters, digits, ".", "_", ":" or "-"' }]
}

export function invalidSerialNumber(serialNumber: string): InvalidField[] {
  if (SERIAL_NUMBER_PATTERN.test(serialNumber)) return []
  return [{ field: 'serialNumber', value: serialNumber, remedy: '1 to 64 letters, digits, ".", "_", ":" or "-"' }]
}

export function invalidName(name: string): InvalidField[] {
  if (name.trim() === name && name.length >= 1 && name.length <= NAME_CHARS_MAX) return []
  return [{ field: 'name', value: name, remedy: `1 to ${NAME_CHARS_MAX} characters without blanks at either end` }]
}
