/** `busbar-cloud topics`: does the bus have the catalogue's topics, as the catalogue wants them. */

import { EXIT_FAILED, EXIT_OK } from '../../shared/cli/exit-status.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import type { Bus } from '../bus/bus.ts'

/** How long leaving may take once the answer is there. */
const STOP_TIMEOUT_MS = 2_000

/** Exit status 1 when a topic is missing or differs. */
export function checkTopics(
  bus: Bus,
  options: { readonly json: boolean },
  terminal: Terminal,
  clock: Clock,
): Promise<number> {
  return withBus(bus, clock, async () => {
    const drift = await bus.checkTopics()
    if (options.json) {
      terminal.out(`${JSON.stringify({ bus: bus.kind, drift }, null, 2)}\n`)
    } else if (drift.length === 0) {
      terminal.out(`${terminal.paint.good('ok')}: the ${bus.kind} bus has every topic of the catalogue\n`)
    } else {
      const rows = drift.map(({ topic, setting, expected, actual }) => [topic, setting, text(expected), text(actual)])
      writeTable(terminal, ['TOPIC', 'SETTING', 'CATALOGUE', 'BUS'], rows)
      terminal.err(`next: ${hintFor(drift.map(({ setting }) => setting))}\n`)
    }
    return drift.length === 0 ? EXIT_OK : EXIT_FAILED
  })
}

/** Creates what is missing; a topic that exists is never altered. */
export function createTopics(bus: Bus, terminal: Terminal, clock: Clock): Promise<number> {
  return withBus(bus, clock, async () => {
    const created = await bus.createTopics()
    for (const topic of created) terminal.out(`${topic}\n`)
    terminal.err(created.length === 0 ? 'every topic exists\n' : `${created.length} topics created\n`)
    return EXIT_OK
  })
}

async function withBus(bus: Bus, clock: Clock, work: () => Promise<number>): Promise<number> {
  await bus.start()
  try {
    return await work()
  } finally {
    const deadline = new AbortController()
    const timer = clock.after(STOP_TIMEOUT_MS, () => deadline.abort())
    await bus.stop(deadline.signal)
    timer.cancel()
  }
}

function hintFor(settings: readonly string[]): string {
  return settings.includes('missing')
    ? '`busbar-cloud topics create` creates what is missing; the rest an operator of Kafka alters'
    : 'an operator of Kafka alters these topics; nothing here does it by itself'
}

function text(value: number | null): string {
  return value === null ? '-' : String(value)
}
