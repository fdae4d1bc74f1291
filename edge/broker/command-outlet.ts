/**
 * The way of commands to devices, as the inbox sees it: routes open and close, and each step of a delivery is a call or an
 * event. The broker remembers no command and repeats none; what is sent again, and when, the inbox decides.
 */

/** Whose commands. */
export interface DeviceAddress {
  readonly siteId: number
  readonly serialNumber: string
}

/** A connection that takes the commands of one device. All calls return at once; after `closed` they do nothing. */
export interface CommandRoute {
  readonly clientId: string
  /** Its session outlives the connection (clean=false). */
  readonly durable: boolean
  /**
   * Names the session that packet identifiers belong to. A durable session keeps its name while it lasts, over connections and
   * restarts of the gateway. Under another name the client knows nothing of an earlier handshake, and would take a
   * repeated PUBLISH for a new one.
   */
  readonly session: string
  /** What the subscription grants at present; with 0 nothing comes back, with 1 `completed` does. */
  readonly qos: 0 | 1 | 2
  /**
   * An identifier that neither the MQTT engine nor another delivery on this connection uses; 0 while there is none. Who holds
   * deliveries of an earlier connection of this `session` asks again when it gets one of theirs.
   */
  newPacketId(): number
  /**
   * Sends the command; with `dup` and the `packetId` of an earlier connection of this `session` it is that delivery again.
   * @param packetId from `newPacketId`; means nothing with QoS 0.
   * @returns false when nothing was written: the connection is gone or takes no more.
   */
  publish(packetId: number, payload: Uint8Array, dup: boolean): boolean
  /**
   * Sends PUBREL: after `received`, once that is on disk, and again when a durable session came back. An identifier told by
   * `received` that nobody knows any more is released at once, so that the client can finish [MQTT-4.3.3-1].
   */
  release(packetId: number): void
}

/** Calls come one at a time, in the order in which things happened; none may throw. */
export interface CommandRouteEvents {
  /** The device can take commands now. Never while another route of the device is open. */
  opened(device: DeviceAddress, route: CommandRoute): void
  /** The route is over; nothing of it follows. */
  closed(device: DeviceAddress, route: CommandRoute): void
  /**
   * PUBREC: the device has the command and waits for `release`. May come more than once, and for an identifier of an earlier
   * connection of the session; where the client speaks for several devices, `device` may be another one of them then.
   */
  received(device: DeviceAddress, route: CommandRoute, packetId: number): void
  /** PUBCOMP, or PUBACK where QoS 1 was granted: the delivery is over and the identifier is free. */
  completed(device: DeviceAddress, route: CommandRoute, packetId: number): void
  /** A message on the device's responses topic was accepted for the spool. `payload` is valid during the call only. */
  answered(device: DeviceAddress, payload: Uint8Array): void
}

export interface CommandOutlet {
  /** Once, before the broker starts. */
  listen(events: CommandRouteEvents): void
  /** Sends a copy to those who watch the device's commands topic, with QoS 0; never to a device. */
  show(device: DeviceAddress, payload: Uint8Array): void
}
