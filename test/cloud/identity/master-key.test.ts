import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openMasterKey } from '../../../cloud/identity/master-key.ts'
import { systemRandom } from '../../../shared/random.ts'
import { seededRandom } from '../../support/seeded-random.ts'
import { tempDir } from '../../support/temp-dir.ts'

const keyText = (fill: number) => Buffer.alloc(32, fill).toString('base64')

async function keyFile(text: string, mode = 0o600): Promise<string> {
  const file = join(await tempDir(), 'master.key')
  await writeFile(file, text, { mode })
  await chmod(file, mode)
  return file
}

test('the first start makes a key that only its owner can read, and later ones find it', async () => {
  const dir = await tempDir()
  const file = join(dir, 'data', 'master.key')
  const made = openMasterKey(file, systemRandom)
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  const [first] = made.derive('access-token')
  expect(openMasterKey(file, systemRandom).derive('access-token')).toEqual([first])
  expect(first.secret).toHaveLength(32)
  expect(await readdir(join(dir, 'data'))).toEqual(['master.key'])
})

test('of two cores that make it at once both have the key of the first', async () => {
  const file = join(await tempDir(), 'master.key')
  // The other core comes while this one has drawn its key and not stored it yet.
  const slow = {
    ...systemRandom,
    bytes: (length: number) => {
      if (length === 32) openMasterKey(file, systemRandom)
      return systemRandom.bytes(length)
    },
  }
  const own = openMasterKey(file, slow).derive('authority')
  expect(own).toEqual(openMasterKey(file, systemRandom).derive('authority'))
})

test('a key that others on the machine can read is refused, with what to do', async () => {
  for (const mode of [0o640, 0o604, 0o660, 0o602]) {
    const file = await keyFile(keyText(1), mode)
    // Of a file of root the group may read it, as of what Kubernetes mounts.
    if (mode === 0o640 && process.getuid?.() === 0) continue
    expect(() => openMasterKey(file, systemRandom)).toThrow(
      expect.objectContaining({ code: 'MASTER_KEY_EXPOSED', hint: expect.stringContaining(`chmod 600 ${file}`) }),
    )
  }
})

test('a file without a proper key is refused in words that do not repeat it', async () => {
  const short = Buffer.alloc(31, 1).toString('base64')
  for (const text of ['', '# nothing\n', 'not base64 at all, but long enough', short, `${keyText(1)}\n${short}`]) {
    const file = await keyFile(text)
    let refused: unknown
    try {
      openMasterKey(file, systemRandom)
    } catch (error) {
      refused = error
    }
    expect(refused).toMatchObject({ code: 'MASTER_KEY_INVALID' })
    expect(JSON.stringify(refused) + String(refused)).not.toContain(short)
    expect(await readFile(file, 'utf8')).toBe(text)
  }
})

test('what was sealed is opened with any key of the file, and new things are sealed with the first', async () => {
  const before = openMasterKey(await keyFile(keyText(1)), systemRandom)
  const sealed = before.seal('authority', 'the key of the authority')
  expect(sealed).not.toContain('authority')
  const after = openMasterKey(await keyFile(`# new\n${keyText(2)}\n${keyText(1)}\n`), systemRandom)
  expect(after.open('authority', sealed)).toBe('the key of the authority')
  expect(after.derive('authority')[1]).toEqual(before.derive('authority')[0])
  expect(() => before.open('authority', after.seal('authority', 'x'))).toThrow(
    expect.objectContaining({ code: 'MASTER_KEY_MISSING' }),
  )
})

test('what was sealed is not opened for another purpose, nor when a byte of it was changed', async () => {
  const key = openMasterKey(await keyFile(keyText(1)), seededRandom(1))
  const sealed = key.seal('authority', 'secret')
  expect(() => key.open('challenge', sealed)).toThrow(expect.objectContaining({ code: 'MASTER_KEY_MISSING' }))
  const parts = sealed.split('.')
  const bytes = Buffer.from(parts[3] as string, 'base64url')
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes)
    changed[at] = (changed[at] as number) ^ 1
    const forged = [...parts.slice(0, 3), changed.toString('base64url')].join('.')
    expect(() => key.open('authority', forged)).toThrow(expect.objectContaining({ code: 'SEALED_TEXT_INVALID' }))
  }
  expect(() => key.open('authority', 'nonsense')).toThrow(expect.objectContaining({ code: 'SEALED_TEXT_INVALID' }))
})

test('keys for different purposes have nothing in common', async () => {
  const key = openMasterKey(await keyFile(keyText(1)), systemRandom)
  expect(key.derive('access-token')[0].secret).not.toEqual(key.derive('challenge')[0].secret)
})
