/** Statuses of devices and gateways: their history, and who is found to be offline. */

export { type Availability, availabilityOf, SHARED_STATUSES, type StatusPoint } from './availability.ts'
export { GatewayWatch, type GatewayWatchOptions } from './gateway-watch.ts'
export type { StatusHistoryEntry } from './history-store.ts'
export type { GatewayOutage } from './outage-store.ts'
export { SilenceWatch, type SilenceWatchOptions } from './silence-watch.ts'
export { StatusHistory } from './status-history.ts'
