/**
 * When a device counts as silent. It is ONLINE, nothing was heard of it for its interval, and it would have been heard: its
 * gateway has been connected for as long, somebody listened for as long, and the gateway holds nothing back that may tell of it.
 * The database asks the same of all devices at once (silence-store.ts); this is what it has to come to.
 */

import type { DeviceStatus } from '../registry/device.ts'
import { durationText } from './duration.ts'

export const RESTORED_REASON = 'Device communication restored'

/** Intervals, milliseconds; 0 for never. */
export interface SilenceSettings {
  /** Of a device that has no time of its own and whose type has none. */
  readonly silentAfterMs: number
  readonly silentAfterMsByType: Readonly<Record<string, number>>
}

/** Where the times are as the database has them; null for what never was. */
export interface ListenedDevice {
  readonly status: DeviceStatus | null
  readonly deviceType: string
  readonly silentAfterMs: number | null
  readonly statusAtMs: number | null
  /** When it last said its status again. */
  readonly repeatedAtMs: number | null
  /** When the last record of it came. */
  readonly heardAtMs: number | null
  /** Null for a device without one. */
  readonly gateway: ListenedGateway | null
}

export interface ListenedGateway {
  /** By the registry's own rule: connected, and heard of lately. */
  readonly connected: boolean
  readonly connectedAtMs: number | null
  /** When the oldest record that it still holds was received, its clock; null when it holds none. */
  readonly backlogOldestMs: number | null
  /** Its clock less ours. */
  readonly clockOffsetMs: number | null
}

/** @param listeningSinceMs since when a core has listened without a break. */
export function isSilent(
  device: ListenedDevice,
  settings: SilenceSettings,
  nowMs: number,
  listeningSinceMs: number,
): boolean {
  const { gateway } = device
  const intervalMs = intervalOf(device, settings)
  if (device.status !== 'ONLINE' || gateway === null || !gateway.connected || intervalMs === 0) return false
  const { connectedAtMs, backlogOldestMs, clockOffsetMs } = gateway
  const heldSinceMs = backlogOldestMs === null ? nowMs : Math.min(nowMs, backlogOldestMs - (clockOffsetMs ?? 0))
  // What the gateway has held for as long as the interval: nothing can be said of any part of it.
  if (heldSinceMs < nowMs - intervalMs) return false
  // Nor of what it received since then, so the silence has to be as long before that.
  return Math.max(lastHeardMs(device), connectedAtMs ?? 0, listeningSinceMs) <= heldSinceMs - intervalMs
}

/** Its own, else that of its type, else that of all. */
export function intervalOf(
  { silentAfterMs, deviceType }: Pick<ListenedDevice, 'silentAfterMs' | 'deviceType'>,
  settings: SilenceSettings,
): number {
  return silentAfterMs ?? settings.silentAfterMsByType[deviceType] ?? settings.silentAfterMs
}

/** 0 for never. */
export function lastHeardMs(device: Pick<ListenedDevice, 'heardAtMs' | 'statusAtMs' | 'repeatedAtMs'>): number {
  return Math.max(device.heardAtMs ?? 0, device.statusAtMs ?? 0, device.repeatedAtMs ?? 0)
}

/** Such as "No data for 16 min; something is expected every 15 min". */
export function silenceReason(silentForMs: number, intervalMs: number): string {
  return `No data for ${durationText(silentForMs)}; something is expected every ${durationText(intervalMs)}`
}
