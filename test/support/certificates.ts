/** Certificates for a test, made by openssl. */

import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Authority {
  /** PEM. */
  readonly ca: string
  /** A certificate for a name. @param names that it carries as a server's. Default: localhost and 127.0.0.1. */
  issue(commonName: string, names?: string): { readonly cert: string; readonly key: string }
}

export function newAuthority(dir: string, name = 'test-ca'): Authority {
  const file = (suffix: string): string => join(dir, `${name}-${suffix}`)
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  openssl([
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    file('ca.key'),
    '-out',
    file('ca.pem'),
    '-days',
    '2',
    '-subj',
    `/CN=${name}`,
  ])
  let issued = 0
  return {
    ca: readFileSync(file('ca.pem'), 'utf8'),
    issue(commonName, names = 'DNS:localhost,IP:127.0.0.1') {
      const base = file(`leaf-${++issued}`)
      openssl(['req', ...newKey, '-keyout', `${base}.key`, '-out', `${base}.csr`, '-subj', `/CN=${commonName}`])
      writeFileSync(`${base}.ext`, `subjectAltName=${names}\n`)
      const signing = [
        '-CA',
        file('ca.pem'),
        '-CAkey',
        file('ca.key'),
        '-CAcreateserial',
        '-days',
        '1',
        '-extfile',
        `${base}.ext`,
      ]
      openssl(['x509', '-req', '-in', `${base}.csr`, '-out', `${base}.pem`, ...signing])
      return {
        cert: readFileSync(`${base}.pem`, 'utf8'),
        key: readFileSync(`${base}.key`, 'utf8'),
      }
    },
  }
}

function openssl(args: readonly string[]): void {
  execFileSync('openssl', [...args], { stdio: 'pipe' })
}
