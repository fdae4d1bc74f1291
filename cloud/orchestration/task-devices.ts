/** Which devices a request for a task means, and what is wrong with its choice of them. */

import type { DeviceSelection, SelectedDevice } from '../registry/device-selection.ts'
import { includesSite, type SiteScope } from '../registry/site-scope.ts'
import type { NewTaskDevice } from './task-store.ts'

/** By serial number, or all of a site, of a type, or of both. */
export interface DeviceChoice {
  readonly deviceIds?: readonly string[] | undefined
  /** Beside `deviceIds`: where they are. */
  readonly siteId?: number | undefined
  readonly deviceType?: string | undefined
}

export interface TaskProblem {
  /** JSON Pointer to the member of the request. */
  readonly pointer: string
  readonly value?: unknown
  /** What it may be. */
  readonly remedy: string
}

export interface ChosenDevices {
  readonly devices: readonly NewTaskDevice[]
  readonly problems: readonly TaskProblem[]
}

/** Sites named in the refusal of a serial number that several have. */
const SITES_NAMED_MAX = 10

/** @param sees devices elsewhere are unknown ones. @throws BusbarError DATABASE_UNAVAILABLE */
export async function chooseDevices(
  selection: DeviceSelection,
  choice: DeviceChoice,
  devicesMax: number,
  sees: SiteScope,
): Promise<ChosenDevices> {
  const { deviceIds, siteId, deviceType } = choice
  if (deviceIds === undefined) return await bySiteAndType(selection, choice, devicesMax, sees)
  const problem = listProblem(choice, devicesMax)
  if (problem !== null) return { devices: [], problems: [problem] }
  const resolved = resolveSerialNumbers(deviceIds, await selection.bySerialNumbers(deviceIds, siteId, sees), siteId)
  const problems = [...duplicates(deviceIds)]
  for (const [index, device] of resolved.entries()) {
    const value = deviceIds[index] as string
    if (device.reason === null) continue
    const remedy = `the serial number of one registered device; ${device.reason}`
    problems.push({ pointer: `/device_ids/${index}`, value, remedy })
  }
  if (deviceType !== undefined) {
    problems.push({ pointer: '/device_type', value: deviceType, remedy: 'leave it out beside device_ids' })
  }
  return { devices: resolved, problems }
}

/** One for each serial number, in their order; those that no device or several have come without one, and say why. */
export function resolveSerialNumbers(
  serialNumbers: readonly string[],
  found: readonly SelectedDevice[],
  siteId: number | undefined,
): NewTaskDevice[] {
  const bySerial = Map.groupBy(found, (device) => device.serialNumber)
  const where = siteId === undefined ? '' : ` at site ${siteId}`
  return serialNumbers.map((serialNumber) => {
    const [device, ...others] = bySerial.get(serialNumber) ?? []
    if (device === undefined) {
      return { ...unresolved(serialNumber), reason: `no device of this serial number is registered${where}` }
    }
    if (others.length === 0) return { ...device, reason: null }
    const sites = [device, ...others].map((each) => each.siteId).sort((a, b) => a - b)
    const more = sites.length > SITES_NAMED_MAX ? ` and ${sites.length - SITES_NAMED_MAX} more` : ''
    const named = sites.slice(0, SITES_NAMED_MAX).join(', ')
    return {
      ...unresolved(serialNumber),
      maybeAt: sites,
      reason: `sites ${named}${more} have a device of this serial number: name one with site_id`,
    }
  })
}

/** Of those that were found, the ones at `acts`; the others come without a device. */
export function commandable(devices: readonly NewTaskDevice[], acts: SiteScope): NewTaskDevice[] {
  return devices.map((device) => {
    if (device.siteId === null || includesSite(acts, device.siteId)) return device
    return { ...unresolved(device.serialNumber), reason: 'no device where whoever tried it again may command one' }
  })
}

function unresolved(serialNumber: string) {
  return { serialNumber, siteId: null, deviceId: null }
}

function listProblem({ deviceIds = [] }: DeviceChoice, devicesMax: number): TaskProblem | null {
  const pointer = '/device_ids'
  if (deviceIds.length === 0) {
    return { pointer, remedy: 'at least one serial number; or leave it out and give site_id or device_type' }
  }
  if (deviceIds.length <= devicesMax) return null
  const remedy = `at most ${devicesMax} serial numbers (tasks.devicesMax); make several tasks`
  return { pointer, value: `${deviceIds.length} serial numbers`, remedy }
}

function* duplicates(deviceIds: readonly string[]): Generator<TaskProblem> {
  const first = new Map<string, number>()
  for (const [index, value] of deviceIds.entries()) {
    const before = first.get(value)
    if (before === undefined) first.set(value, index)
    else yield { pointer: `/device_ids/${index}`, value, remedy: `leave it out: /device_ids/${before} is the same` }
  }
}

async function bySiteAndType(
  selection: DeviceSelection,
  { siteId, deviceType }: DeviceChoice,
  devicesMax: number,
  sees: SiteScope,
): Promise<ChosenDevices> {
  if (siteId === undefined && deviceType === undefined) {
    const remedy = 'required: serial numbers; or give site_id, device_type or both instead'
    return { devices: [], problems: [{ pointer: '/device_ids', remedy }] }
  }
  const pointer = siteId === undefined ? '/device_type' : '/site_id'
  const value = siteId ?? deviceType
  const meant = [...(siteId === undefined ? [] : [`site ${siteId}`]), ...(deviceType === undefined ? [] : [deviceType])]
  const found = await selection.matching({ siteId, deviceType }, devicesMax + 1, sees)
  if (found.length > devicesMax) {
    const remedy = `a choice of at most ${devicesMax} devices (tasks.devicesMax); ${meant.join(' and ')} has more`
    return { devices: [], problems: [{ pointer, value, remedy }] }
  }
  const remedy = `one that devices are registered with: none matches ${meant.join(' and ')}`
  return {
    devices: found.map((device) => ({ ...device, reason: null })),
    problems: found.length === 0 ? [{ pointer, value, remedy }] : [],
  }
}
