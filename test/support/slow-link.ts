/** A TCP link of little bandwidth, as over a mobile network: what is sent waits behind what was sent before. */

import { connect, createServer, type Server, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/** Bytes on the way that the link itself keeps, each direction. */
const QUEUE_BYTES = 32 * 1024
const STEP_MS = 20

/** Port of a new link; closed when the test ends. */
export async function openSlowLink(options: { targetPort: number; bytesPerSecond: number }): Promise<number> {
  const sockets = new Set<Socket>()
  const server: Server = createServer((near) => {
    const far = connect(options.targetPort, '127.0.0.1')
    carry(near, far, options.bytesPerSecond)
    carry(far, near, options.bytesPerSecond)
    for (const socket of [near, far]) sockets.add(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

function carry(from: Socket, to: Socket, bytesPerSecond: number): void {
  const queue: Buffer[] = []
  let queued = 0
  const timer = setInterval(() => {
    for (let room = (bytesPerSecond * STEP_MS) / 1000; room > 0 && queue[0] !== undefined; ) {
      const chunk = queue.shift() as Buffer
      const taken = chunk.subarray(0, Math.ceil(room))
      to.write(taken)
      room -= taken.length
      queued -= taken.length
      if (taken.length < chunk.length) queue.unshift(chunk.subarray(taken.length))
    }
    if (queued < QUEUE_BYTES / 2) from.resume()
  }, STEP_MS)
  from.on('data', (chunk: Buffer) => {
    queue.push(chunk)
    queued += chunk.length
    if (queued >= QUEUE_BYTES) from.pause()
  })
  from.on('error', () => undefined)
  from.on('close', () => {
    clearInterval(timer)
    to.destroy()
  })
}
