/** What the registry refuses, so that a caller can say which value is wrong and what it may be. */

import { BusbarError } from '../../shared/errors.ts'

export interface InvalidField {
  readonly field: string
  readonly value: unknown
  /** What the value may be. */
  readonly remedy: string
}

/** Values that do not describe a site, a gateway or a device; code REGISTRATION_INVALID. */
export class InvalidRegistrationError extends BusbarError {
  readonly fields: readonly InvalidField[]

  constructor(fields: readonly InvalidField[]) {
    const named = fields.map(({ field, value, remedy }) => `${field} ${shown(value)} must be ${remedy}`)
    super(named.join('; '), { code: 'REGISTRATION_INVALID', hint: 'correct the named values and try again' })
    this.name = 'InvalidRegistrationError'
    this.fields = fields
  }
}

/** There is one already; codes SITE_EXISTS, GATEWAY_EXISTS, DEVICE_EXISTS. */
export class AlreadyRegisteredError extends BusbarError {
  constructor(kind: RegisteredKind, described: string, cause: unknown) {
    super(`${described} exists already`, {
      code: `${kind.toUpperCase()}_EXISTS`,
      hint: `update it instead, or choose another ${kind === 'device' ? 'serial number' : 'id'}`,
      cause,
    })
    this.name = 'AlreadyRegisteredError'
  }
}

/** There is none; codes SITE_NOT_FOUND, GATEWAY_NOT_FOUND, DEVICE_NOT_FOUND. */
export class NotRegisteredError extends BusbarError {
  constructor(kind: RegisteredKind, described: string) {
    super(`${described} is not registered`, {
      code: `${kind.toUpperCase()}_NOT_FOUND`,
      hint: `register the ${kind} first`,
    })
    this.name = 'NotRegisteredError'
  }
}

/** Something was asked for at sites that one sees and may not act at; code ROLE_MISSING. */
export class NotAllowedAtError extends BusbarError {
  readonly siteIds: readonly number[]

  constructor(siteIds: readonly number[]) {
    super(`not allowed at site ${siteIds.join(', ')}`, {
      code: 'ROLE_MISSING',
      hint: 'leave out what is at these sites, or ask for the role there',
    })
    this.name = 'NotAllowedAtError'
    this.siteIds = siteIds
  }
}

export type RegisteredKind = 'site' | 'gateway' | 'device'

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'undefined'
  return text.length <= 80 ? text : `${text.slice(0, 80)}…`
}
