/** Statuses of devices and gateways: their history, and who is found to be offline. */

export {
  type Availability,
  availabilityOf,
  SHARED_STATUSES,
  type SharedStatus,
  type StatusPoint,
} from './availability.ts'
export { GatewayWatch, type GatewayWatchOptions, type GatewayWatchStats } from './gateway-watch.ts'
export type { HistoryRange, StatusHistoryEntry } from './history-store.ts'
export type { GatewayOutage } from './outage-store.ts'
export type { SilenceSettings } from './silence.ts'
export { type SilenceStats, SilenceWatch, type SilenceWatchOptions } from './silence-watch.ts'
export { type JudgedDevice, StatusHistory, type StatusHistoryOptions } from './status-history.ts'
