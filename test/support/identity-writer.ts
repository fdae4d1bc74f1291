/** Replaces the identity of a gateway by another, to be killed at it: what was there before, or what comes, must be whole. */

import { readFileSync } from 'node:fs'
import { type EnrolledIdentity, IdentityFile } from '../../edge/identity/identity-file.ts'
import { bunPath } from './child.ts'

/** @param next file with the identity that is to be in `dir`. */
export function identityWriter(dir: string, next: string): string[] {
  return [bunPath, import.meta.filename, dir, next]
}

if (import.meta.main) {
  const [dir = '', next = ''] = process.argv.slice(2)
  const identity = JSON.parse(readFileSync(next, 'utf8')) as EnrolledIdentity
  const file = new IdentityFile(dir)
  file.writePending({ tokenId: 'token', privateKey: identity.privateKey })
  file.write(identity)
  process.stdout.write('written\n')
}
