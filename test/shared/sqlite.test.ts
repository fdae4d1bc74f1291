/** One way to open SQLite, in sources and in a compiled binary with no node_modules in reach. */

import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openSqlite, sqliteCode } from '../../shared/sqlite.ts'
import { tempDir } from '../support/temp-dir.ts'

test('what is written is read back', async () => {
  const path = join(await tempDir(), 'a.db')
  const database = openSqlite(path)
  database.exec('CREATE TABLE t (a INTEGER, b BLOB)')
  database.prepare('INSERT INTO t VALUES (?, ?)').run(2 ** 52 - 1, new Uint8Array([1, 2]))
  database.close()
  const again = openSqlite(path, { fileMustExist: true, readonly: true })
  expect(again.prepare('SELECT a, b FROM t').get()).toEqual({ a: 2 ** 52 - 1, b: Buffer.from([1, 2]) })
  again.close()
})

test('an error of SQLite gives its code, any other gives null', async () => {
  const database = openSqlite(':memory:')
  const codeOf = (fn: () => void): string | null => {
    try {
      fn()
      return null
    } catch (error) {
      return sqliteCode(error)
    }
  }
  expect(codeOf(() => database.exec('CREATE'))).toBe('SQLITE_ERROR')
  expect(codeOf(() => openSqlite('/proc/none/a.db'))).toBeNull()
  database.close()
})

test('a compiled binary opens a database without node_modules', async () => {
  const dir = await tempDir()
  const root = new URL('../..', import.meta.url).pathname
  const modules = join(dir, 'node_modules', 'better-sqlite3')
  for (const part of ['package.json', 'lib', 'prebuilds']) {
    cpSync(join(root, 'node_modules', 'better-sqlite3', part), join(modules, part), { recursive: true })
  }
  for (const source of ['sqlite.ts', 'worker-url.ts']) cpSync(join(root, 'shared', source), join(dir, source))
  writeFileSync(
    join(dir, 'probe.ts'),
    `import { openSqlite } from './sqlite.ts'
     console.log(openSqlite(':memory:').prepare('SELECT 40 + 2').pluck().get())`,
  )
  mkdirSync(join(dir, 'tmp'))
  const binary = join(dir, 'probe')
  execFileSync(process.execPath, ['build', '--compile', 'probe.ts', '--outfile', binary], { cwd: dir, stdio: 'pipe' })
  rmSync(join(dir, 'node_modules'), { recursive: true })
  const printed = execFileSync(binary, { cwd: '/', env: { TMPDIR: join(dir, 'tmp') }, encoding: 'utf8' })
  expect(printed.trim()).toBe('42')
})
