/** Can records be kept: a writable directory, room, and a disk whose fsync works in reasonable time. */

import { type FileHandle, mkdir, open, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { formatBytes } from '../../../shared/cli/format.ts'
import type { Clock } from '../../../shared/clock.ts'
import { messageOf } from '../../../shared/errors.ts'
import { type Random, randomHex } from '../../../shared/random.ts'
import type { EdgeConfig } from '../../config.ts'
import { type Finding, fail, ok, warn } from './finding.ts'

/** Writes that are timed; the slowest counts. */
const SYNC_SAMPLES = 20
const SYNC_BYTES = 4096
/** A PUBACK waits for one fsync: beyond this a device with one message in flight notices. */
const SYNC_SLOW_MS = 100
/** f_type of tmpfs and ramfs, statfs(2). */
const MEMORY_FILE_SYSTEMS = new Set([0x01021994, 0x858458f6])

export async function checkDisk(config: EdgeConfig, clock: Clock, random: Random): Promise<Finding[]> {
  const dir = config.gateway.dataDir
  try {
    await mkdir(dir, { recursive: true })
  } catch (error) {
    return [fail('data-dir', `cannot make ${dir}: ${messageOf(error)}`, 'make it, owned by the user the edge runs as')]
  }
  const probe = join(dir, `.doctor-${randomHex(random, 4)}`)
  let file: FileHandle
  try {
    file = await open(probe, 'wx')
  } catch (error) {
    return [fail('data-dir', `cannot write in ${dir}: ${messageOf(error)}`, `make ${dir} writable for this user`)]
  }
  try {
    return [ok('data-dir', `${dir} is writable`), await checkRoom(config), await checkSync(file, clock)]
  } finally {
    await file.close()
    await rm(probe, { force: true })
  }
}

async function checkRoom({ gateway, spool }: EdgeConfig): Promise<Finding> {
  const { bavail, bsize, type } = await statfs(gateway.dataDir)
  const freeBytes = bavail * bsize
  const free = `${formatBytes(freeBytes)} free`
  if (MEMORY_FILE_SYSTEMS.has(type)) {
    const hint = 'set gateway.dataDir to a directory on a disk: what is acknowledged must survive a power cut'
    return fail('disk-space', `${gateway.dataDir} is in memory (tmpfs)`, hint)
  }
  if (freeBytes <= spool.diskFreeBytesMin) {
    const hint = 'free some space, or lower spool.diskFreeBytesMin: telemetry is given up as long as this lasts'
    return fail('disk-space', `${free}, spool.diskFreeBytesMin is ${formatBytes(spool.diskFreeBytesMin)}`, hint)
  }
  if (freeBytes - spool.diskFreeBytesMin < spool.bytesMax) {
    const usable = formatBytes(freeBytes - spool.diskFreeBytesMin)
    const hint = `an outage can be bridged for ${usable} of records only; free space or lower spool.bytesMax`
    return warn('disk-space', `${free}, less than spool.bytesMax of ${formatBytes(spool.bytesMax)}`, hint)
  }
  return ok('disk-space', `${free}, the spool takes up to ${formatBytes(spool.bytesMax)}`)
}

async function checkSync(file: FileHandle, clock: Clock): Promise<Finding> {
  const bytes = new Uint8Array(SYNC_BYTES)
  const timesMs: number[] = []
  try {
    for (let i = 0; i < SYNC_SAMPLES; i++) {
      const begun = clock.monotonicMs()
      await file.write(bytes, 0, bytes.length, i * SYNC_BYTES)
      await file.sync()
      timesMs.push(clock.monotonicMs() - begun)
    }
  } catch (error) {
    return fail('fsync', `fsync fails: ${messageOf(error)}`, 'replace the disk: nothing on it can be relied on')
  }
  timesMs.sort((a, b) => a - b)
  const median = timesMs[SYNC_SAMPLES >> 1] as number
  const slowest = timesMs[SYNC_SAMPLES - 1] as number
  const detail = `fsync takes ${median.toFixed(1)} ms, at most ${slowest.toFixed(1)} ms of ${SYNC_SAMPLES}`
  if (median <= SYNC_SLOW_MS) return ok('fsync', detail)
  return warn('fsync', detail, 'devices wait that long for each acknowledgement; a faster disk or card helps')
}
