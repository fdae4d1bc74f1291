import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { writeWhole } from '../../shared/whole-file.ts'
import { tempDir } from '../support/temp-dir.ts'

const modeOf = (path: string) => statSync(path).mode & 0o777

it('makes the file, and the directories above it, for their owner alone', async () => {
  const dir = await tempDir()
  const file = join(dir, 'a', 'b', 'secret')
  writeWhole(file, 'first')
  writeWhole(file, 'second')
  expect(readFileSync(file, 'utf8')).toBe('second')
  expect([file, join(dir, 'a'), join(dir, 'a', 'b')].map(modeOf)).toEqual([0o600, 0o700, 0o700])
  expect(readdirSync(join(dir, 'a', 'b'))).toEqual(['secret'])
})

it('keeps what is there when it may not be written over, and leaves no draft', async () => {
  const dir = await tempDir()
  writeWhole(join(dir, 'key'), 'theirs', { overwrite: false, draft: 'one' })
  expect(() => writeWhole(join(dir, 'key'), 'ours', { overwrite: false, draft: 'other' })).toThrow(/EEXIST/)
  expect(readFileSync(join(dir, 'key'), 'utf8')).toBe('theirs')
  expect(readdirSync(dir)).toEqual(['key'])
})

it('leaves no draft of what cannot be put in its place', async () => {
  const dir = await tempDir()
  mkdirSync(join(dir, 'taken', 'by'), { recursive: true })
  expect(() => writeWhole(join(dir, 'taken'), 'secret')).toThrow()
  expect(readdirSync(dir)).toEqual(['taken'])
})
