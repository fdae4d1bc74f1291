import { join } from 'node:path'
import { expect, test } from 'vitest'
import { addressHashes, openActivityKeys } from '../../../cloud/activity/activity-keys.ts'
import { ActivitySeal } from '../../../cloud/activity/activity-seal.ts'
import { openMasterKey } from '../../../cloud/identity/identity.ts'
import { systemRandom } from '../../../shared/random.ts'
import { activityKeys, NEW_KEY, OLD_KEY } from '../../support/activity-log.ts'
import { tempDir } from '../../support/temp-dir.ts'

const opened = (keys: string, masterKeyFile = '/nowhere/master.key') =>
  openActivityKeys({ activity: { keys }, identity: { masterKeyFile } }, systemRandom)

test('keys of their own are used instead of the master key, in their order', async () => {
  const text = [NEW_KEY, OLD_KEY].map((key) => Buffer.from(key).toString('base64')).join('\n')
  expect(opened(`${text}\n`)).toEqual(activityKeys(NEW_KEY, OLD_KEY))
  const masterKeyFile = join(await tempDir(), 'master.key')
  const byMaster = opened('', masterKeyFile)
  expect(byMaster.chain).toEqual(openMasterKey(masterKeyFile, systemRandom).derive('activity-chain'))
  expect(byMaster.setting).toBe('identity.masterKeyFile')
})

test('a key that is none is refused in words that do not repeat it', () => {
  const good = Buffer.from(OLD_KEY).toString('base64')
  for (const wrong of ['c2hvcnQ=', 'not-base64!']) {
    let refused: unknown
    try {
      opened(`${good} ${wrong}`)
    } catch (error) {
      refused = error
    }
    expect(refused).toMatchObject({ code: 'ACTIVITY_KEYS_INVALID', message: expect.stringContaining('as key 2') })
    expect(String(refused)).not.toContain(wrong)
  }
})

test('what is sealed is opened for its own entry alone, and not when a byte of it was changed', () => {
  const seal = new ActivitySeal(activityKeys(OLD_KEY), systemRandom)
  const members = { ipAddress: '192.0.2.7', n: 1 }
  const sealed = seal.seal('evt_1', '2026-01-01', members)
  expect(seal.open('evt_1', sealed)).toEqual(members)
  expect(seal.seal('evt_1', '2026-01-01', members)).not.toBe(sealed)
  const invalid = expect.objectContaining({ code: 'SEALED_TEXT_INVALID' })
  expect(() => seal.open('evt_2', sealed)).toThrow(invalid)
  expect(() => seal.open('evt_1', sealed.replace('2026-01-01', '2026-01-02'))).toThrow(invalid)
  expect(() => seal.open('evt_1', 'nonsense')).toThrow(invalid)
  const parts = sealed.split('.')
  const body = Buffer.from(parts.pop() as string, 'base64url')
  for (let at = 0; at < body.length; at++) {
    const changed = Buffer.from(body)
    changed[at] = (changed[at] as number) ^ 1
    expect(() => seal.open('evt_1', [...parts, changed.toString('base64url')].join('.'))).toThrow(invalid)
  }
})

test('an address is known again under the old key, and by nobody without a key', () => {
  const [before] = addressHashes(activityKeys(OLD_KEY), 'user1', '192.0.2.7')
  const after = addressHashes(activityKeys(NEW_KEY, OLD_KEY), 'user1', '192.0.2.7')
  expect(after[0]).not.toBe(before)
  expect(after[1]).toBe(before)
  expect(addressHashes(activityKeys(OLD_KEY), 'user11', '92.0.2.7')[0]).not.toBe(before)
})
