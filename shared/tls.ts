/** What Busbar speaks, to whoever connects and to whom it connects: TLS 1.2 and newer. */

export const TLS_VERSION_MIN = 'TLSv1.2'

/** What TLS 1.2 may use at our listeners: forward secrecy and authenticated encryption. TLS 1.3 has nothing else. */
export const TLS12_CIPHERS = [
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':')
