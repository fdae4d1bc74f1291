/** A TCP link between two processes that a test or the demo can cut, freeze and restore. */

import { connect, createServer, type Server, type Socket } from 'node:net'

/** `cut`: connections are reset and new ones refused. `frozen`: connections stay, nothing passes either way. */
export type LinkState = 'up' | 'cut' | 'frozen'

export interface Link {
  readonly port: number
  readonly state: LinkState
  /** Bytes passed up (towards the target) and down since the start. */
  readonly bytes: { readonly up: number; readonly down: number }
  /** Connections open now. */
  readonly connections: number
  cut(): Promise<void>
  freeze(): void
  restore(): Promise<void>
  close(): Promise<void>
}

export async function openLink(options: { targetPort: number; targetHost?: string; port?: number }): Promise<Link> {
  const { targetPort, targetHost = '127.0.0.1' } = options
  const sockets = new Set<Socket>()
  const bytes = { up: 0, down: 0 }
  let state: LinkState = 'up'
  let server: Server | null = null
  let port = options.port ?? 0

  const join = (near: Socket): void => {
    const far = connect({ host: targetHost, port: targetPort, allowHalfOpen: true })
    for (const [from, to, direction] of [
      [near, far, 'up'],
      [far, near, 'down'],
    ] as const) {
      sockets.add(from)
      from.setNoDelay(true)
      from.on('data', (chunk: Buffer) => {
        bytes[direction] += chunk.length
        if (!to.write(chunk)) from.pause()
      })
      to.on('drain', () => {
        if (state !== 'frozen') from.resume()
      })
      from.on('end', () => to.end())
      from.on('error', () => undefined)
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
      if (state === 'frozen') from.pause()
    }
  }

  const listen = async (): Promise<void> => {
    const listening = createServer({ allowHalfOpen: true }, join)
    await new Promise<void>((resolve, reject) => {
      listening.once('error', reject)
      listening.listen(port, '127.0.0.1', resolve)
    })
    const address = listening.address()
    if (typeof address === 'object' && address !== null) port = address.port
    server = listening
  }

  const shut = async (): Promise<void> => {
    const closing = server
    server = null
    for (const socket of sockets) socket.resetAndDestroy()
    if (closing !== null) await new Promise((resolve) => closing.close(resolve))
  }

  await listen()
  return {
    get port() {
      return port
    },
    get state() {
      return state
    },
    bytes,
    get connections() {
      return sockets.size / 2
    },
    async cut() {
      state = 'cut'
      await shut()
    },
    freeze() {
      state = 'frozen'
      for (const socket of sockets) socket.pause()
    },
    async restore() {
      const before = state
      state = 'up'
      if (before === 'cut') await listen()
      for (const socket of sockets) socket.resume()
    },
    close: shut,
  }
}
