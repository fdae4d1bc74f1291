/**
 * A TCP link between two processes that a test or the demo can cut, freeze and restore. With several targets it is a
 * balancer: connections go to them in turn, and past one that refuses.
 */

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
  /** Where new connections go; those that are open stay. */
  switchTo(targets: readonly LinkTarget[]): void
  close(): Promise<void>
}

export interface LinkTarget {
  readonly port: number
  /** Default 127.0.0.1. */
  readonly host?: string | undefined
}

export type LinkOptions = { readonly port?: number } & (
  | { readonly targetPort: number; readonly targetHost?: string }
  | { readonly targets: readonly LinkTarget[] }
)

export async function openLink(options: LinkOptions): Promise<Link> {
  let targets = 'targets' in options ? options.targets : [{ port: options.targetPort, host: options.targetHost }]
  let turn = 0
  const dialling = new Set<Socket>()
  const sockets = new Set<Socket>()
  const bytes = { up: 0, down: 0 }
  let state: LinkState = 'up'
  let server: Server | null = null
  let port = options.port ?? 0

  const accept = async (near: Socket): Promise<void> => {
    near.on('error', () => undefined)
    dialling.add(near)
    const far = await dialOneOf(targets, turn++)
    dialling.delete(near)
    if (far === null) near.resetAndDestroy()
    // The client left, or the link was cut, in the meantime.
    else if (near.destroyed) far.resetAndDestroy()
    else join(near, far)
  }

  const join = (near: Socket, far: Socket): void => {
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
    const listening = createServer({ allowHalfOpen: true }, (near) => void accept(near))
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
    for (const socket of [...dialling, ...sockets]) socket.resetAndDestroy()
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
    switchTo(next) {
      targets = next
    },
    close: shut,
  }
}

/** A connection to the first that accepts, beginning with number `turn`; null when none does. */
async function dialOneOf(targets: readonly LinkTarget[], turn: number): Promise<Socket | null> {
  for (let i = 0; i < targets.length; i++) {
    const target = targets[(turn + i) % targets.length] as LinkTarget
    const socket = await dial(target)
    if (socket !== null) return socket
  }
  return null
}

function dial({ port, host = '127.0.0.1' }: LinkTarget): Promise<Socket | null> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, allowHalfOpen: true })
    socket.once('connect', () => resolve(socket))
    socket.once('error', () => resolve(null))
  })
}
