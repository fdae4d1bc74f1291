/**
 * A real Kafka for tests, without containers: KRaft, one node or several, in temporary directories on free ports.
 * KAFKA_BROKERS names a broker that runs already; such a one cannot be killed.
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import kafkajs from 'kafkajs'
import { describe } from 'vitest'
import { kafkaJars, kafkaMissing } from './kafka-jars.ts'
import {
  type KafkaSecurity,
  loggingOfDenials,
  type SecureListeners,
  scramUsers,
  secureListeners,
  secureSettings,
} from './kafka-security.ts'
import { until } from './until.ts'

export interface TestKafka {
  /** `host:port` of every node. */
  readonly brokers: readonly string[]
  /** Listeners that ask who is there, of a broker with security. */
  readonly secure: SecureListeners | null
  /** What the authorizer has refused so far, a line each. */
  denials(): Promise<readonly string[]>
  /** Runs a shell script with kafka-acls as `$KAFKA_ACLS` and this broker as `$BROKERS`. */
  runAcls(script: string): Promise<void>
  /** Gives a user of SCRAM-SHA-512 a password, a new user too. */
  setPassword(name: string, password: string): Promise<void>
  /** kill -9 of one node. */
  kill(node?: number): Promise<void>
  /** Starts a killed node again; resolves when it answers. */
  restart(node?: number): Promise<void>
  /** SIGSTOP and SIGCONT: connections stay open and nothing answers. */
  freeze(node?: number): void
  thaw(node?: number): void
  /** Ends all nodes and removes their data. */
  stop(): Promise<void>
}

const CLUSTER_ID = '4L6g3nShT-eMCtK--X86sw'
const START_TIMEOUT_MS = 40_000
const HEAP = ['-Xms64m', '-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xshare:auto']

/** `describe` where a broker can be had; elsewhere a loud skip, and a failure when CI=true. */
export const describeKafka: typeof describe.skip = (() => {
  const missing = kafkaMissing()
  if (missing === null) return describe
  if (process.env.CI === 'true') throw new Error(`tests with a real Kafka cannot run: ${missing}`)
  process.stderr.write(`SKIPPED: tests with a real Kafka: ${missing}\n`)
  return describe.skip
})()

interface Node {
  readonly port: number
  readonly properties: string
  readonly dir: string
  /** Further ones of the JVM. */
  readonly arguments: readonly string[]
  process: ChildProcess | null
  /** Kills the node when this process dies without doing so: its standard input ends with us. */
  watchdog: ChildProcess | null
}

/** @param options.security of a broker of one node, which has listeners of its own for it. */
export async function startKafka(options: { nodes?: number; security?: KafkaSecurity } = {}): Promise<TestKafka> {
  const given = process.env.KAFKA_BROKERS
  const { security } = options
  if (given !== undefined && options.nodes === undefined && security === undefined) return running(given.split(','))
  const count = options.nodes ?? 1
  const jars = await kafkaJars()
  const dir = await mkdtemp(join(tmpdir(), 'busbar-kafka-'))
  const ports = await freePorts(count * 2 + 2)
  const [sasl, mutual] = ports.slice(-2) as [number, number]
  const secure = security === undefined ? null : { sasl, mutual }
  const logging = security === undefined ? [] : [await loggingOfDenials(dir)]
  const voters = Array.from({ length: count }, (_, i) => `${i + 1}@127.0.0.1:${ports[count + i]}`).join(',')
  const nodes = await Promise.all(
    Array.from({ length: count }, async (_, i): Promise<Node> => {
      const nodeDir = join(dir, `node-${i + 1}`)
      const properties = join(dir, `node-${i + 1}.properties`)
      const [port, controllerPort] = [ports[i] as number, ports[count + i] as number]
      const listeners = secure === null ? '' : secureListeners(secure)
      const plain = settings({ id: i + 1, count, port, controllerPort, voters, dir: nodeDir, listeners })
      const secured = security === undefined ? [] : await secureSettings(dir, security)
      await writeFile(properties, [...plain, ...secured].join('\n'))
      await format(jars, properties, security === undefined ? [] : scramUsers(security))
      return { port, properties, dir: nodeDir, arguments: logging, process: null, watchdog: null }
    }),
  )
  const nodeAt = (index = 0): Node => nodes[index] as Node
  const kafka: TestKafka = {
    brokers: nodes.map(({ port }) => `127.0.0.1:${port}`),
    secure,
    denials: async () => (await logOf(nodeAt())).split('\n').filter((line) => line.includes(' is Denied ')),
    setPassword: (name, password) => setPassword(jars, `127.0.0.1:${nodeAt().port}`, name, password),
    runAcls: (script) => runAcls(jars, dir, `127.0.0.1:${nodeAt().port}`, script),
    kill: async (node) => end(nodeAt(node)),
    restart: async (node) => {
      launch(jars, nodeAt(node))
      await answers([nodeAt(node)], count)
    },
    freeze: (node) => void nodeAt(node).process?.kill('SIGSTOP'),
    thaw: (node) => void nodeAt(node).process?.kill('SIGCONT'),
    stop: async () => {
      await Promise.all(nodes.map(end))
      await rm(dir, { recursive: true, force: true })
    },
  }
  for (const node of nodes) launch(jars, node)
  try {
    await answers(nodes, count)
  } catch (error) {
    const log = await logOf(nodeAt())
    await kafka.stop()
    throw new Error(`Kafka did not start: ${String(error)}\n${log.slice(-2000)}`)
  }
  return kafka
}

function running(brokers: string[]): TestKafka {
  const refuse = (): never => {
    throw new Error('a broker given by KAFKA_BROKERS cannot be killed; unset it for this test')
  }
  return {
    brokers,
    secure: null,
    denials: refuse,
    runAcls: refuse,
    setPassword: refuse,
    kill: refuse,
    restart: refuse,
    freeze: refuse,
    thaw: refuse,
    stop: async () => {},
  }
}

function settings(node: {
  id: number
  count: number
  port: number
  controllerPort: number
  voters: string
  dir: string
  /** Further ones, each after a comma. */
  listeners: string
}): string[] {
  const replication = Math.min(node.count, 3)
  return [
    'process.roles=broker,controller',
    `node.id=${node.id}`,
    `controller.quorum.voters=${node.voters}`,
    `listeners=PLAINTEXT://127.0.0.1:${node.port},CONTROLLER://127.0.0.1:${node.controllerPort}${node.listeners}`,
    `advertised.listeners=PLAINTEXT://127.0.0.1:${node.port}${node.listeners}`,
    'controller.listener.names=CONTROLLER',
    'listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MUTUAL:SSL',
    `log.dirs=${node.dir}`,
    'auto.create.topics.enable=false',
    'offsets.topic.num.partitions=4',
    `offsets.topic.replication.factor=${replication}`,
    'transaction.state.log.num.partitions=4',
    `transaction.state.log.replication.factor=${replication}`,
    `transaction.state.log.min.isr=${Math.min(2, replication)}`,
    `default.replication.factor=${replication}`,
    'group.initial.rebalance.delay.ms=0',
    'broker.session.timeout.ms=3000',
    'broker.heartbeat.interval.ms=500',
    // Old segments go within seconds, not minutes.
    'log.retention.check.interval.ms=500',
    'log.initial.task.delay.ms=500',
    'log.cleaner.dedupe.buffer.size=8388608',
  ]
}

async function format(jars: string, properties: string, users: readonly string[]): Promise<void> {
  const args = ['-Xmx128m', '-XX:TieredStopAtLevel=1', '-cp', `${jars}/*`, 'kafka.tools.StorageTool']
  await promisify(execFile)('java', [...args, 'format', '-t', CLUSTER_ID, '-c', properties, ...users])
}

async function runAcls(jars: string, dir: string, brokers: string, script: string): Promise<void> {
  const program = join(dir, 'kafka-acls')
  const java = `exec java -Xmx96m -XX:TieredStopAtLevel=1 -Xshare:auto -cp '${jars}/*'`
  await writeFile(program, `#!/bin/sh\n${java} org.apache.kafka.tools.AclCommand "$@"\n`, { mode: 0o755 })
  const path = join(dir, 'acls.sh')
  await writeFile(path, script)
  await promisify(execFile)('sh', [path], { env: { ...process.env, KAFKA_ACLS: program, BROKERS: brokers } })
}

async function setPassword(jars: string, brokers: string, name: string, password: string): Promise<void> {
  const java = ['-Xmx96m', '-XX:TieredStopAtLevel=1', '-cp', `${jars}/*`, 'kafka.admin.ConfigCommand']
  const user = ['--entity-type', 'users', '--entity-name', name]
  const added = `SCRAM-SHA-512=[password=${password}]`
  const args = ['--bootstrap-server', brokers, '--alter', ...user, '--add-config', added]
  await promisify(execFile)('java', [...java, ...args])
}

function logOf(node: Node): Promise<string> {
  return readFile(`${node.properties}.log`, 'utf8').catch(() => '')
}

function launch(jars: string, node: Node): void {
  // The output goes to a file: nobody would drain a pipe. With exec the process is the JVM itself.
  const command = [
    'exec java',
    ...HEAP,
    ...node.arguments,
    '-cp',
    `'${jars}/*'`,
    'kafka.Kafka',
    `'${node.properties}'`,
  ].join(' ')
  node.process = spawn('sh', ['-c', `${command} >'${node.properties}.log' 2>&1`], { stdio: 'ignore' })
  const guard = `cat >/dev/null; kill -9 ${node.process.pid}`
  node.watchdog = spawn('sh', ['-c', guard], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
}

async function end(node: Node): Promise<void> {
  const child = node.process
  node.process = null
  node.watchdog?.kill('SIGKILL')
  node.watchdog = null
  if (child === null || child.exitCode !== null || child.signalCode !== null) return
  const exited = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await exited
}

/** Resolves when each of `nodes` knows all `count` brokers. */
async function answers(nodes: readonly Node[], count: number): Promise<void> {
  for (const { port } of nodes) {
    await until(() => knows(port, count), { timeoutMs: START_TIMEOUT_MS, pollMs: 100, what: `broker on ${port}` })
  }
}

async function knows(port: number, count: number): Promise<boolean> {
  const kafka = new kafkajs.Kafka({
    brokers: [`127.0.0.1:${port}`],
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { retries: 0 },
    connectionTimeout: 1000,
  })
  const admin = kafka.admin()
  try {
    await admin.connect()
    const { brokers } = await admin.describeCluster()
    return brokers.length >= count
  } catch {
    return false
  } finally {
    await admin.disconnect().catch(() => {})
  }
}

/** Taken all at once, so that none comes twice. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer())
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once('error', reject)
          server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
        }),
    ),
  )
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}
