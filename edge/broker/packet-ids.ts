/**
 * Who gives which packet identifiers to a client [MQTT-2.3.1-2]: the MQTT engine the lower ones, commands the upper ones. So
 * neither has to know what the other has in flight, not even when a durable session comes back after a restart.
 */

export const ENGINE_PACKET_ID_MAX = 49_151
export const COMMAND_PACKET_ID_MIN = ENGINE_PACKET_ID_MAX + 1
export const PACKET_ID_MAX = 65_535
/** Deliveries that can be in flight to one client. */
export const COMMAND_PACKET_IDS = PACKET_ID_MAX - ENGINE_PACKET_ID_MAX

/** Keeps the counter of a client of the pinned engine in its range. */
export function confinePacketIds(client: { _nextId: number }): void {
  let next = Math.min(client._nextId, ENGINE_PACKET_ID_MAX)
  Object.defineProperty(client, '_nextId', {
    get: () => next,
    set: (wanted: number) => {
      next = wanted > ENGINE_PACKET_ID_MAX ? 1 : wanted
    },
  })
}
