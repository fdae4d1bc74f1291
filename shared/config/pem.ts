/** Certificates and keys that a config names. */

import { readFileSync } from 'node:fs'
import { BusbarError, messageOf } from '../errors.ts'
import { readPrivate } from './private-file.ts'

/**
 * The PEM text in `file`, for certificates; whoever wants may read those.
 * @param key of the config, for the error.
 * @throws BusbarError CONFIG_FILE_UNREADABLE
 */
export function readPem(key: string, file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new BusbarError(`cannot read ${key}: ${messageOf(cause)}`, {
      code: 'CONFIG_FILE_UNREADABLE',
      hint: `Set ${key} to a PEM file that this user may read.`,
      cause,
    })
  }
}

/**
 * The certificates of a section that has `caFile`, `certFile` and `keyFile`, each absent where it is empty.
 * @throws BusbarError CONFIG_FILE_UNREADABLE, or CONFIG_FILE_EXPOSED when others can read the private key.
 */
export function readTlsFiles(
  section: string,
  files: { readonly caFile?: string; readonly certFile: string; readonly keyFile: string },
): { ca?: string; cert?: string; key?: string } {
  const { caFile = '', certFile, keyFile } = files
  return {
    ...(caFile === '' ? {} : { ca: readPem(`${section}.caFile`, caFile) }),
    ...(certFile === '' ? {} : { cert: readPem(`${section}.certFile`, certFile) }),
    ...(keyFile === '' ? {} : { key: readPrivate(`${section}.keyFile`, keyFile) }),
  }
}
