/**
 * A program that opens connections, begins to say something on each and never goes on:
 * `<port> <connections> <what it says, hexadecimal>`. Says `open` when all are, and `cut` when none is left.
 */

import { connect } from 'node:net'

const [port = 0, count = 0] = process.argv.slice(2, 4).map(Number)
const words = Buffer.from(process.argv[4] ?? '', 'hex')
/** Dialled at one time: the queue of a listener is not what is tried here. */
const AT_ONCE = 100
let dialled = 0
let open = 0
let gone = 0

function dial(): void {
  if (dialled === count) return
  dialled++
  const socket = connect(port, '127.0.0.1', () => {
    if (words.length > 0) socket.write(words)
    if (++open === count) process.stdout.write('open\n')
    dial()
  })
  // To read is to notice the end.
  socket.resume()
  socket.on('error', () => undefined)
  socket.on('close', () => {
    if (++gone === count) process.stdout.write('cut\n')
  })
}

for (let i = 0; i < AT_ONCE; i++) dial()
