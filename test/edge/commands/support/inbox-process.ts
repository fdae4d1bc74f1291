/**
 * A gateway's inbox with a real spool and a device of its own, which dies where it is told to:
 * `bun inbox-process.ts DIR COUNT [DIE_AT]`. It takes the commands c0 to c(COUNT-1) in, says `receipt ID` for each, carries
 * them out, and says `done` when all have ended. DIE_AT is one of the words of `Point`; it dies there with kill -9.
 *
 * The device remembers what MQTT wants it to remember, over the deaths of the gateway, in DIR/device: lines `publish ID PACKET`,
 * `again ID PACKET`, `ran ID`. Commands with an odd number are never answered.
 */

import { appendFileSync, existsSync, mkdirSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { CommandOutlet, CommandRoute, CommandRouteEvents } from '../../../../edge/broker/command-outlet.ts'
import { CommandInbox } from '../../../../edge/commands/inbox.ts'
import { Spool } from '../../../../edge/spool/spool.ts'
import { systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'

export type Point =
  | 'before-publish'
  | 'after-publish'
  | 'before-release'
  | 'after-release'
  | 'completed'
  | 'answered'
  | 'told'

const [dir = '', count = '0', dieAt = ''] = process.argv.slice(2)
const DEVICE = { siteId: 1, serialNumber: 'METER-1' }
const tools = { clock: systemClock, random: systemRandom, log: silentLogger }
const say = (line: string) => writeSync(1, `${line}\n`)
const die = (point: Point) => {
  if (point === dieAt) process.kill(process.pid, 'SIGKILL')
}

mkdirSync(dir, { recursive: true })
const deviceFile = join(dir, 'device')
const remembered = existsSync(deviceFile) ? readFileSync(deviceFile, 'utf8').split('\n') : []
const holds = new Map<number, string>()
for (const line of remembered) {
  const [word, id = '', packet] = line.split(' ')
  if (word === 'publish' || word === 'again') holds.set(Number(packet), id)
  if (word === 'ran') for (const [held, command] of holds) if (command === id) holds.delete(held)
}
const note = (line: string) => appendFileSync(deviceFile, `${line}\n`)

const listening: { events?: CommandRouteEvents } = {}
const outlet: CommandOutlet = {
  listen: (listener) => {
    listening.events = listener
  },
  show: () => undefined,
}
let nextId = 1 + Math.max(0, ...remembered.map((line) => Number(line.split(' ')[2] ?? 0)))
const route: CommandRoute = {
  clientId: 'METER-1',
  durable: true,
  session: 'session-1',
  qos: 2,
  newPacketId: () => nextId++,
  publish(packetId, payload, dup) {
    const { commandId } = JSON.parse(Buffer.from(payload).toString())
    die('before-publish')
    note(`${dup ? 'again' : 'publish'} ${commandId} ${packetId}`)
    holds.set(packetId, commandId)
    die('after-publish')
    setImmediate(() => listening.events?.received(DEVICE, route, packetId))
    return true
  },
  release(packetId) {
    die('before-release')
    const commandId = holds.get(packetId)
    holds.delete(packetId)
    if (commandId !== undefined) note(`ran ${commandId}`)
    die('after-release')
    setImmediate(() => {
      listening.events?.completed(DEVICE, route, packetId)
      die('completed')
      if (commandId === undefined || Number(commandId.slice(1)) % 2 === 1) return
      listening.events?.answered(DEVICE, Buffer.from(JSON.stringify({ commandId, status: 'SUCCESS' })))
      note(`answered ${commandId}`)
      die('answered')
    })
  },
}

const spool = new Spool({
  dir: join(dir, 'spool'),
  bytesMax: 1e9,
  ageMaxMs: 1e12,
  diskFreeBytesMin: 0,
  blockBytesMax: 16 * 1024,
  pendingBytesMax: 1024 * 1024,
  compressionLevel: 1,
  ...tools,
})
const inbox = new CommandInbox({ dir: join(dir, 'commands'), spool, outlet, inboxMax: 1000, keptDays: 30, ...tools })
await spool.start()
await inbox.start()
spool.onSettled(() => die('told'))
inbox.learnCloudTime(Date.now() - performance.now())
for (let n = 0; n < Number(count); n++) {
  const { stored } = await inbox.receive([
    {
      commandId: `c${n}`,
      taskId: '',
      ...DEVICE,
      name: 'REBOOT',
      paramsJson: '',
      issuedAtMs: 0,
      expiresAtMs: Date.now() + 3_600_000,
      timeoutMs: 50,
    },
  ])
  for (const id of stored) say(`receipt ${id}`)
}
say('open')
listening.events?.opened(DEVICE, route)
setInterval(() => {
  const { waiting, sent, delivered, untold } = inbox.stats()
  if (waiting + sent + delivered + untold > 0) return
  say('done')
  void inbox
    .stop(AbortSignal.timeout(5000))
    .then(() => spool.stop(AbortSignal.timeout(5000)))
    .then(() => process.exit(0))
}, 20)
