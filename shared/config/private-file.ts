/** Files with something secret in them: read only when nobody else on the machine can. */

import { closeSync, fstatSync, openSync, readFileSync, type Stats } from 'node:fs'
import { BusbarError, messageOf } from '../errors.ts'

/** What any user but the owner and its group may do, and what the group may beyond reading. */
const ANY_OTHER = 0o077
const BEYOND_GROUP_READ = 0o037

/** Why a file is no place for a secret, in words that follow its path; null when it is one. */
export type Exposure = string | null

/** What is there, by the same open file that its mode was asked of: nobody can put another one in between. */
export interface CheckedFile {
  readonly text: string
  readonly exposure: Exposure
}

/**
 * The file as UTF-8, and whether others can read it. A link is followed, and what it leads to is what counts, as in the
 * directories that Kubernetes mounts secrets in.
 * @throws what the system says when it cannot be read.
 */
export function readChecked(path: string): CheckedFile {
  const descriptor = openSync(path, 'r')
  try {
    const exposure = exposureOf(fstatSync(descriptor))
    return { text: readFileSync(descriptor, 'utf8'), exposure }
  } finally {
    closeSync(descriptor)
  }
}

/**
 * The text of a file that holds a secret.
 * @param key of the config that names it, for the error.
 * @throws BusbarError CONFIG_FILE_UNREADABLE, or CONFIG_FILE_EXPOSED when others can read it.
 */
export function readPrivate(key: string, path: string): string {
  const { text, exposure } = checkedOrThrow(key, path)
  if (exposure === null) return text
  throw new BusbarError(`${key} names ${path}, which ${exposure}`, {
    code: 'CONFIG_FILE_EXPOSED',
    hint: privacyHint(path),
  })
}

/** How to make `path` fit for a secret. */
export function privacyHint(path: string): string {
  return `chmod 600 ${path}; a file of root may be 0640, as what Kubernetes mounts is with defaultMode: 0440`
}

function checkedOrThrow(key: string, path: string): CheckedFile {
  try {
    return readChecked(path)
  } catch (cause) {
    throw new BusbarError(`cannot read ${key}: ${messageOf(cause)}`, {
      code: 'CONFIG_FILE_UNREADABLE',
      hint: `Set ${key} to a file that this user may read.`,
      cause,
    })
  }
}

/** PostgreSQL's rule for keys: nobody but the owner; of a file that is root's own its group may read it too. */
function exposureOf({ mode, uid }: Pick<Stats, 'mode' | 'uid'>): Exposure {
  const forbidden = uid === 0 ? BEYOND_GROUP_READ : ANY_OTHER
  if ((mode & forbidden) === 0) return null
  const octal = (mode & 0o777).toString(8).padStart(4, '0')
  return `others than its owner can open (mode ${octal})`
}
