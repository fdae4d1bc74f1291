import { connect, createServer, type Socket } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openLink } from './link.ts'
import { until } from './until.ts'

/** A server that sends back what it gets, a link to it, and a client through the link. */
async function echoThroughLink() {
  const server = createServer((socket) => socket.on('error', () => undefined).pipe(socket))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const link = await openLink({ targetPort: typeof address === 'object' && address !== null ? address.port : 0 })
  onTestFinished(async () => {
    await link.close()
    server.close()
  })
  const dial = (): { socket: Socket; text: () => string; closed: () => boolean } => {
    let text = ''
    let closed = false
    const socket = connect(link.port, '127.0.0.1')
    socket.on('data', (chunk) => {
      text += chunk.toString()
    })
    socket
      .on('error', () => undefined)
      .on('close', () => {
        closed = true
      })
    return { socket, text: () => text, closed: () => closed }
  }
  return { link, dial }
}

test('a link passes bytes both ways', async () => {
  const { link, dial } = await echoThroughLink()
  const client = dial()
  client.socket.write('hello')
  await until(() => client.text() === 'hello')
  expect(link.bytes).toEqual({ up: 5, down: 5 })
})

test('a cut link resets connections and refuses new ones until restored on the same port', async () => {
  const { link, dial } = await echoThroughLink()
  const before = dial()
  before.socket.write('a')
  await until(() => before.text() === 'a')
  const port = link.port
  await link.cut()
  await until(before.closed)
  const during = dial()
  await until(during.closed)
  await link.restore()
  expect(link.port).toBe(port)
  const after = dial()
  after.socket.write('b')
  await until(() => after.text() === 'b')
})

test('a frozen link keeps its connections silent and delivers when restored', async () => {
  const { link, dial } = await echoThroughLink()
  const client = dial()
  client.socket.write('a')
  await until(() => client.text() === 'a')
  link.freeze()
  client.socket.write('b')
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(client.text()).toBe('a')
  expect(client.closed()).toBe(false)
  await link.restore()
  await until(() => client.text() === 'ab')
})

describe('a link with several targets', () => {
  /** A server that tells each client its name and then echoes. */
  async function namedServer(name: string) {
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      sockets.add(socket.on('error', () => undefined).on('close', () => sockets.delete(socket)))
      socket.write(name)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const die = async (): Promise<void> => {
      for (const socket of sockets) socket.resetAndDestroy()
      await new Promise((resolve) => server.close(resolve))
    }
    onTestFinished(() => void die())
    return { port: typeof address === 'object' && address !== null ? address.port : 0, die }
  }

  async function answersOf(port: number, count: number): Promise<string[]> {
    const answers: string[] = []
    for (let i = 0; i < count; i++) {
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => undefined)
      onTestFinished(() => void socket.destroy())
      const answer = await new Promise<string>((resolve) => {
        socket.once('data', (chunk) => resolve(chunk.toString()))
        socket.once('close', () => resolve('closed'))
      })
      answers.push(answer)
    }
    return answers
  }

  test('goes to them in turn, past one that died, and to nobody when all did', async () => {
    const [a, b] = [await namedServer('a'), await namedServer('b')]
    const link = await openLink({ targets: [a, b] })
    onTestFinished(() => link.close())
    expect((await answersOf(link.port, 4)).toSorted()).toEqual(['a', 'a', 'b', 'b'])
    await a.die()
    expect(await answersOf(link.port, 3)).toEqual(['b', 'b', 'b'])
    await b.die()
    expect(await answersOf(link.port, 1)).toEqual(['closed'])
    expect(link.connections).toBe(0)
  })

  test('can be switched to others', async () => {
    const [a, b] = [await namedServer('a'), await namedServer('b')]
    const link = await openLink({ targets: [a] })
    onTestFinished(() => link.close())
    expect(await answersOf(link.port, 2)).toEqual(['a', 'a'])
    link.switchTo([b])
    expect(await answersOf(link.port, 2)).toEqual(['b', 'b'])
  })
})
