/** Where the consumers of a test set records aside. */

import { onTestFinished } from 'vitest'
import type { Bus } from '../../cloud/bus/bus.ts'
import { Parking, type ParkingOptions } from '../../cloud/bus/parking.ts'
import { type DatabaseHandle, openDatabase } from '../../cloud/database/database.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'

let cores = 0

/** Of a core of its own, not started, stopped when the test ends. Pauses are short, and two retries follow the tries at once. */
export function parkingOver(
  database: DatabaseHandle,
  bus: Pick<Bus, 'publish'>,
  options: Partial<ParkingOptions> = {},
): Parking {
  const parking = new Parking({
    database,
    bus,
    coreId: `parking-core-${++cores}`,
    settings: { retries: 2, deviceRetries: 2, retryBaseMs: 20, retryCapMs: 100, parkedMax: 10_000 },
    pollMs: 50,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    ...options,
  })
  onTestFinished(() => parking.stop())
  return parking
}

/** A started database in memory, stopped when the test ends. */
export async function memoryDatabase(): Promise<DatabaseHandle> {
  const database = openDatabase({ url: 'memory:', clock: systemClock, log: silentLogger })
  await database.start()
  onTestFinished(() => database.stop())
  return database
}

/** Over a database in memory, started. */
export async function startParking(
  bus: Pick<Bus, 'publish'>,
  options: Partial<ParkingOptions> = {},
): Promise<{ parking: Parking; database: DatabaseHandle }> {
  const database = await memoryDatabase()
  const parking = parkingOver(database, bus, options)
  await parking.start()
  return { parking, database }
}
