/** Stands where the inbox will: notes every event of the routes, and releases what was received unless told to wait. */

import type { CommandRoute, CommandRouteEvents, DeviceAddress } from '../../../../edge/broker/command-outlet.ts'

export class CommandRecorder implements CommandRouteEvents {
  /** One per event: `opened INV-001 client-id`, `received INV-001 49152`. */
  readonly lines: string[] = []
  /** `INV-001 {"commandId":…}` */
  readonly answers: string[] = []
  /** Routes that are open, by serial number. */
  readonly routes = new Map<string, CommandRoute>()
  /** PUBREL at once; otherwise the test does it. */
  releases = true
  /** Called when a route opens, within the event. */
  onOpened: (route: CommandRoute) => void = () => undefined

  /** The open route of a device. */
  route(serialNumber = 'INV-001'): CommandRoute {
    const route = this.routes.get(serialNumber)
    if (route === undefined) throw new Error(`no route of ${serialNumber} is open`)
    return route
  }

  /** The events that begin with `word`. */
  of(word: string): string[] {
    return this.lines.filter((line) => line.startsWith(`${word} `))
  }

  opened({ serialNumber }: DeviceAddress, route: CommandRoute): void {
    if (this.routes.has(serialNumber)) throw new Error('a second route opened beside the first')
    this.lines.push(`opened ${serialNumber} ${route.clientId}`)
    this.routes.set(serialNumber, route)
    this.onOpened(route)
  }

  closed({ serialNumber }: DeviceAddress, route: CommandRoute): void {
    if (this.routes.get(serialNumber) !== route) throw new Error('a route closed that was not open')
    this.lines.push(`closed ${serialNumber} ${route.clientId}`)
    this.routes.delete(serialNumber)
  }

  received({ serialNumber }: DeviceAddress, route: CommandRoute, packetId: number): void {
    this.lines.push(`received ${serialNumber} ${packetId}`)
    if (this.releases) route.release(packetId)
  }

  completed({ serialNumber }: DeviceAddress, _route: CommandRoute, packetId: number): void {
    this.lines.push(`completed ${serialNumber} ${packetId}`)
  }

  answered({ siteId, serialNumber }: DeviceAddress, payload: Uint8Array): void {
    this.answers.push(`${siteId}/${serialNumber} ${Buffer.from(payload)}`)
  }
}
