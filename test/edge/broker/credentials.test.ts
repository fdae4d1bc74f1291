import { chown, mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  addCredential,
  CredentialFile,
  hashSecret,
  listCredentials,
  removeCredential,
} from '../../../edge/broker/credentials.ts'
import { systemRandom } from '../../../shared/random.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { tempDir } from '../../support/temp-dir.ts'

const clock = new ManualClock()
const tools = { clock, random: systemRandom }
const device = { role: 'device', siteId: 1, serialNumber: 'INV-001' } as const

async function aFile(): Promise<string> {
  return join(await tempDir(), 'state', 'credentials.json')
}

describe('the file of logins', () => {
  test('gets a device with a secret of 256 bits that is stored nowhere', async () => {
    const file = await aFile()
    const { credential, secret } = addCredential(file, device, tools)
    expect(Buffer.from(secret, 'base64url')).toHaveLength(32)
    expect(credential).toEqual({
      username: 'INV-001',
      role: 'device',
      siteId: 1,
      serialNumber: 'INV-001',
      secretSha256: hashSecret(secret),
      createdAt: '2026-01-01T00:00:00.000Z',
    })
    expect(listCredentials(file)).toEqual([credential])
    expect(await readFile(file, 'utf8')).not.toContain(secret)
  })

  test('can be read by its owner only, and leaves nothing beside it', async () => {
    const file = await aFile()
    addCredential(file, device, tools)
    addCredential(file, { role: 'observer', username: 'scada' }, tools)
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    await expect(stat(`${file}.tmp`)).rejects.toThrow()
  })

  test('holds each name once, and forgets it on demand', async () => {
    const file = await aFile()
    addCredential(file, device, tools)
    expect(() => addCredential(file, device, tools)).toThrow(expect.objectContaining({ code: 'CREDENTIAL_EXISTS' }))
    expect(removeCredential(file, 'nobody')).toBe(false)
    expect(removeCredential(file, 'INV-001')).toBe(true)
    expect(listCredentials(file)).toEqual([])
  })

  test.each([
    { ...device, siteId: 0 },
    { ...device, serialNumber: 'INV/001' },
    { role: 'observer', username: '' } as const,
    { role: 'observer', username: 'a b' } as const,
  ])('refuses %o', async (wanted) => {
    const file = await aFile()
    expect(() => addCredential(file, wanted, tools)).toThrow(expect.objectContaining({ code: 'CREDENTIAL_INVALID' }))
    expect(listCredentials(file)).toEqual([])
  })

  test.each(['{', '{}', '[{"username":"x"}]', '[null]'])('that holds %s is refused with a hint', async (text) => {
    const file = join(await tempDir(), 'credentials.json')
    await writeFile(file, text)
    expect(() => listCredentials(file)).toThrow(expect.objectContaining({ code: 'CREDENTIALS_UNREADABLE' }))
  })
})

describe('the logins in memory', () => {
  test('follow the file, looking at it once a second or when told to', async () => {
    const file = await aFile()
    const logins = new CredentialFile(file, clock)
    expect(logins.find('INV-001')).toBeNull()
    addCredential(file, device, tools)
    clock.advance(999)
    expect(logins.find('INV-001')).toBeNull()
    clock.advance(1)
    expect(logins.find('INV-001')?.serialNumber).toBe('INV-001')
    removeCredential(file, 'INV-001')
    expect(logins.find('INV-001')).not.toBeNull()
    expect(logins.reload()).toBe(true)
    expect(logins.reload()).toBe(false)
    expect(logins.find('INV-001')).toBeNull()
  })

  test('stay in force while the file cannot be read', async () => {
    const file = await aFile()
    addCredential(file, device, tools)
    const logins = new CredentialFile(file, clock)
    logins.reload()
    await writeFile(file, 'damaged')
    clock.advance(1000)
    expect(() => logins.find('INV-001')).toThrow(expect.objectContaining({ code: 'CREDENTIALS_UNREADABLE' }))
    expect(logins.find('INV-001')).not.toBeNull()
  })
})

test.runIf(process.getuid?.() === 0)(
  'written by root, the file belongs to who had it, or to the owner of its directory',
  async () => {
    const file = await aFile()
    await mkdir(dirname(file))
    await chown(dirname(file), 1234, 1235)
    addCredential(file, device, tools)
    expect(await stat(file)).toMatchObject({ uid: 1234, gid: 1235 })
    await chown(file, 2234, 2235)
    removeCredential(file, 'INV-001')
    expect(await stat(file)).toMatchObject({ uid: 2234, gid: 2235 })
  },
)
