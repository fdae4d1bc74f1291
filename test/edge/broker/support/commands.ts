/** A site with an inbox that listens, and its clients: devices that take commands, and those who watch. */

import type { IClientOptions, MqttClient } from 'mqtt'
import { until } from '../../../support/until.ts'
import { CommandRecorder } from './command-recorder.ts'
import { connectFrame, framesOf, PINGREQ, subscribeFrame } from './frames.ts'
import { type Login, type RawClient, type Site, type SiteOptions, startSite } from './site.ts'

export const DEVICE = { siteId: 1, serialNumber: 'INV-001' } as const
export const DEVICE_TOPICS = 'sites/1/devices/INV-001'
export const COMMANDS = `${DEVICE_TOPICS}/commands`
export const EVERYTHING = 'sites/+/devices/+/#'
export const COMMAND = Buffer.from('{"commandId":"cmd-00000001","name":"REBOOT"}')

/** A site where everyone logs in. */
export async function siteWithDevice(): Promise<{ site: Site; login: Login; inbox: CommandRecorder }> {
  const inbox = new CommandRecorder()
  const site = await startSite({ insecure: false, commands: inbox })
  return { site, login: site.login({ role: 'device', ...DEVICE }), inbox }
}

/** A site where everyone is let in; its inbox releases nothing by itself. */
export async function siteWithInbox(options: SiteOptions = {}): Promise<{ site: Site; inbox: CommandRecorder }> {
  const inbox = new CommandRecorder()
  inbox.releases = false
  return { site: await startSite({ commands: inbox, ...options }), inbox }
}

/** What a client receives, as `topic qos payload`. */
export function messagesOf(client: MqttClient): string[] {
  const messages: string[] = []
  client.on('message', (topic, payload, { qos, retain, dup }) => {
    messages.push(`${topic} ${qos}${retain ? ' retained' : ''}${dup ? ' dup' : ''} ${payload}`)
  })
  return messages
}

export async function subscriber(site: Site, options: IClientOptions, filter = COMMANDS, qos: 0 | 1 | 2 = 2) {
  const client = await site.client(options)
  const messages = messagesOf(client)
  await client.subscribeAsync(filter, { qos })
  return { client, messages }
}

/** Sends a command the way an inbox does; its packet identifier. */
export function send(site: Site, inbox: CommandRecorder, payload = COMMAND): number {
  const route = inbox.route()
  const packetId = route.newPacketId()
  if (!route.publish(packetId, payload, false)) throw new Error('the route takes no command')
  site.broker.commands.show(DEVICE, payload)
  return packetId
}

/** A raw client that is connected, and subscribed if it is to be. */
export async function rawDevice(
  site: Site,
  options: { readonly clean?: boolean; readonly filter?: string; readonly qos?: 0 | 1 | 2 } = {},
): Promise<RawClient> {
  const { clean = true, filter, qos = 2 } = options
  const raw = await site.socket()
  raw.send(connectFrame({ clientId: 'device', clean }))
  await until(() => raw.received.length >= 4)
  if (filter !== undefined) {
    raw.send(subscribeFrame(1, filter, qos))
    await until(() => raw.received.length >= 9)
  }
  return raw
}

/** The frames a client got since it was last asked, all that the broker had for it. */
export async function framesSoFar(raw: RawClient): Promise<Buffer[]> {
  raw.send(PINGREQ)
  await until(() => framesOf(raw.received).some((each) => each[0] === 0xd0))
  const frames = framesOf(raw.received).filter((each) => each[0] !== 0xd0)
  raw.received = Buffer.alloc(0)
  return frames
}

/** A device that has been sent a command and has answered nothing. */
export async function deviceWithCommand(clean: boolean) {
  const { site, inbox } = await siteWithInbox()
  const raw = await rawDevice(site, { clean, filter: COMMANDS })
  const packetId = inbox.route().newPacketId()
  inbox.route().publish(packetId, COMMAND, false)
  await until(() => raw.received.length > 9)
  return { site, inbox, raw, packetId }
}
