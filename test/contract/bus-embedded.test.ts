import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { busSuite } from './bus-suite.ts'

busSuite(async () => {
  const dir = await mkdtemp(join(tmpdir(), 'busbar-'))
  return {
    create: (options) =>
      new EmbeddedBus({ dir, ...options, clock: systemClock, random: systemRandom, log: silentLogger }),
    dispose: () => rm(dir, { recursive: true, force: true }),
  }
})
