/** The receiving part of the cloud as a process of its own, to be killed and frozen. */

import { bunPath, type Child, startChild } from './child.ts'
import { freePort } from './free-port.ts'
import { until } from './until.ts'

export interface IngestProcess {
  readonly port: number
  readonly child: Child
  /** Lines that it has written so far. */
  readonly lines: string[]
}

/** @param holdAfterPublish the first publish is durable on the bus but never answered. */
export async function startIngestProcess(options: {
  readonly dir: string
  readonly port?: number
  readonly holdAfterPublish?: boolean
}): Promise<IngestProcess> {
  const port = options.port ?? (await freePort())
  const lines: string[] = []
  const child = startChild({
    command: [bunPath, import.meta.filename],
    env: {
      INGEST_DIR: options.dir,
      INGEST_PORT: String(port),
      INGEST_HOLD: options.holdAfterPublish === true ? '1' : '',
    },
    onLine: (line) => lines.push(line),
  })
  await until(() => lines.includes('ready') || child.exit !== null, {
    what: 'the ingest process is ready',
  })
  if (child.exit !== null) throw new Error(`the ingest process ended: ${child.output()}`)
  return { port, child, lines }
}

if (import.meta.main) {
  const { startIngestCore } = await import('./ingest-core.ts')
  const { INGEST_DIR: dir = '', INGEST_PORT: port, INGEST_HOLD: hold } = process.env
  await startIngestCore({
    dir,
    port: Number(port),
    wrapBus: (bus) => ({
      async publish(topic, records) {
        await bus.publish(topic, records)
        if (hold !== '1') return
        process.stdout.write('published\n')
        await new Promise(() => undefined)
      },
    }),
  })
  process.stdout.write('ready\n')
}
