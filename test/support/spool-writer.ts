/**
 * A process that appends to a spool until it is killed: `bun spool-writer.ts DIR LABEL [COUNT [BYTES]]`. Writes `open N`
 * with the next sequence, `failed N CODE` for every record of its own that was refused, and after every commit `ok N`: what
 * was not refused up to N is durable. Records are `LABEL:N` padded to BYTES. With COUNT it appends one record at a time and exits after so many
 * commits; otherwise it keeps many in flight and goes on for ever.
 */

import { writeSync } from 'node:fs'
import { Spool } from '../../edge/spool/spool.ts'
import { systemClock } from '../../shared/clock.ts'
import type { BusbarError } from '../../shared/errors.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'

const [dir = '', label = '', count = '0', bytes = '0'] = process.argv.slice(2)
const IN_FLIGHT_MAX = 500

const spool = new Spool({
  dir,
  bytesMax: 1e9,
  ageMaxMs: 1e12,
  diskFreeBytesMin: 0,
  blockBytesMax: 16 * 1024,
  pendingBytesMax: 1024 * 1024,
  compressionLevel: 1,
  clock: systemClock,
  random: systemRandom,
  log: silentLogger,
})

const say = (line: string) => writeSync(1, `${line}\n`)
const oneByOne = Number(count)
let appended = 0
let settled = 0
let durable = -1

const listener = {
  committed(token: number, error: BusbarError | null) {
    settled++
    if (error === null) durable = token
    else say(`failed ${token} ${error.code}`)
  },
}

function appendOne(): void {
  const text = `${label}:${appended}`.padEnd(Number(bytes), '.')
  const lane = appended % 10 === 0 ? 'priority' : 'telemetry'
  spool.append(lane, 'sites/1/devices/INV-001/telemetry', Buffer.from(text), listener, appended++)
}

await spool.start()
say(`open ${spool.laneState().telemetry.nextSequence}`)
spool.onSettled(() => {
  say(`ok ${durable}`)
  if (oneByOne > 0 && settled >= oneByOne) void spool.stop(AbortSignal.timeout(10_000)).then(() => process.exit(0))
  else if (oneByOne > 0) setTimeout(appendOne, 5)
})
if (oneByOne > 0) appendOne()
else {
  setInterval(() => {
    // A handful at a time, so that commits of all sizes are cut short.
    for (let n = 0; n < 1 + Math.random() * 100 && appended - settled < IN_FLIGHT_MAX; n++) appendOne()
  }, 0)
}
