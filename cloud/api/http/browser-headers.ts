/**
 * What every answer tells a browser: what a page may load, that nobody may frame it, that nothing is to be guessed or
 * kept. One place, so that no route can forget it; a route that sets one of these itself keeps its own.
 */

const COMMON: Readonly<Record<string, string>> = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()',
  'cache-control': 'no-store',
}

/** Of JSON, text and files: should a browser be made to show one as a page, the page can do nothing. */
const DATA_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** Of our pages: scripts and styles are files of this server, and nothing stands in the page itself. */
const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "font-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** A year: a browser that came over TLS once does not come without again. */
const TRANSPORT_SECURITY = 'max-age=31536000'

/**
 * @param secure whether the request came over TLS.
 * @param others that go with them, such as those of CORS.
 */
export function withBrowserHeaders(
  response: Response,
  secure: boolean,
  others: Readonly<Record<string, string>>,
): Response {
  const { headers } = response
  for (const [name, value] of Object.entries(COMMON)) if (!headers.has(name)) headers.set(name, value)
  if (!headers.has('content-security-policy')) {
    const isPage = headers.get('content-type')?.startsWith('text/html') ?? false
    headers.set('content-security-policy', isPage ? PAGE_POLICY : DATA_POLICY)
  }
  if (secure) headers.set('strict-transport-security', TRANSPORT_SECURITY)
  for (const [name, value] of Object.entries(others)) headers.set(name, value)
  return response
}
