/** The life of a server process: start, wait for SIGTERM or SIGINT, stop, and say how it went by the exit status. */

import { messageOf } from '../errors.ts'
import type { Logger } from '../log.ts'
import { EXIT_FAILED, EXIT_FAULT, EXIT_OK } from './exit-status.ts'

export interface Stoppable {
  start(): Promise<void>
  /** True when everything stopped before its deadline. */
  stop(): Promise<boolean>
}

/**
 * Resolves with the exit status when the program has stopped after a signal. A second signal, or a fault nobody
 * caught, ends the process at once: after either nothing in memory can be relied on, and everything acknowledged is on
 * disk.
 * @throws what `start` throws.
 */
export async function runUntilSignal(program: Stoppable, log: Logger): Promise<number> {
  process.on('uncaughtException', (error) => endByFault(error, log))
  process.on('unhandledRejection', (reason) => endByFault(reason, log))

  let signalled = false
  const signal = new Promise<NodeJS.Signals>((resolve) => {
    const onSignal = (name: NodeJS.Signals) => {
      if (signalled) {
        log.warn({ signal: name }, 'second signal: stopping at once')
        process.exit(EXIT_FAILED)
      }
      signalled = true
      resolve(name)
    }
    process.on('SIGTERM', onSignal)
    process.on('SIGINT', onSignal)
  })

  // A start may wait long for something that is away; a signal ends the waiting too.
  const started = program.start()
  await Promise.race([started, signal])
  log.info({ signal: await signal }, 'stopping')
  const graceful = await program.stop()
  await started.catch(() => undefined)
  if (graceful) log.info('stopped')
  else log.error('did not stop within shutdown.timeoutMs: what was in hand was let go')
  return graceful ? EXIT_OK : EXIT_FAILED
}

function endByFault(error: unknown, log: Logger): never {
  log.fatal({ error: error instanceof Error ? error.stack : messageOf(error) }, 'fault: the process ends')
  process.exit(EXIT_FAULT)
}
