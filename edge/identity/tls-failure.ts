/** Why TLS did not come about, in words for people, from what the library says. */

export interface TlsFailure {
  readonly code: 'UNTRUSTED' | 'WRONG_NAME' | 'DATES' | 'NO_TLS' | 'REFUSED'
  /** Follows the name of who was dialled. */
  readonly said: string
  readonly hint: string
}

interface Kind extends TlsFailure {
  readonly pattern: RegExp
}

const KINDS: readonly Kind[] = [
  {
    code: 'UNTRUSTED',
    pattern:
      /unable to verify the first|unable to get (local )?issuer|self.signed certificate|UNABLE_TO_|certificate signature failure/i,
    said: 'shows a certificate of an authority that this gateway does not trust',
    hint: 'Nothing was sent. Check the address; somebody may be in between. If the cloud has a new authority, enrol this gateway again.',
  },
  {
    code: 'UNTRUSTED',
    pattern: /certificate purpose|INVALID_PURPOSE/i,
    said: 'shows a certificate that is not one of a server',
    hint: 'Nothing was sent. Check the address; somebody with the certificate of a gateway may be in between.',
  },
  {
    code: 'WRONG_NAME',
    pattern: /ALTNAME_INVALID|does not match certificate's altnames/i,
    said: 'shows a certificate for another name',
    hint: 'Nothing was sent. Check the address, and where certificates are your own also uplink.tls.serverName.',
  },
  {
    code: 'DATES',
    pattern: /certificate (has expired|is not yet valid)|CERT_HAS_EXPIRED|CERT_NOT_YET_VALID/i,
    said: 'shows a certificate that is not valid by the clock of this machine',
    hint: 'Check the clock first; if it is right, the certificate of the cloud must be renewed.',
  },
  {
    code: 'NO_TLS',
    pattern: /wrong.version.number|protocol.version|unsupported.protocol|http.request/i,
    said: 'does not speak TLS 1.2 or newer',
    hint: 'Nothing was sent. Check the address and its port, and that the cloud listens there with TLS.',
  },
  {
    code: 'REFUSED',
    pattern: /_ALERT_|alert (number|certificate|bad|unknown|access)/i,
    said: 'does not take the certificate of this gateway',
    hint: 'Look into the log of the cloud: the gateway may be revoked or its certificate have ended. A new token enrols it again.',
  },
]

/** Null when TLS had no part in it. @param text of an error. */
export function tlsFailureIn(text: string): TlsFailure | null {
  return KINDS.find(({ pattern }) => pattern.test(text)) ?? null
}
