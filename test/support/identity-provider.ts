/** A real OpenID Connect provider on loopback, and the little of a browser that walks through a login there. */

import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider from 'oidc-provider'
import { onTestFinished, vi } from 'vitest'
import { freePort } from './free-port.ts'

export interface ProviderAccount {
  readonly sub: string
  readonly [claim: string]: unknown
}

export interface IdentityProvider {
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret: string
  /** Who sits before the browser; null says no to whatever is asked. */
  account: ProviderAccount | null
  stop(): Promise<void>
  start(): Promise<void>
}

/** Stopped when the test ends. */
export async function startIdentityProvider(redirectUris: readonly string[]): Promise<IdentityProvider> {
  const port = await freePort()
  const issuer = `http://127.0.0.1:${port}`
  // It warns of keys and memory that are good for a test only.
  const warnings = vi.spyOn(console, 'warn').mockImplementation(() => undefined)
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'busbar',
        client_secret: 'the secret of busbar',
        redirect_uris: [...redirectUris],
        token_endpoint_auth_method: 'client_secret_basic',
      },
    ],
    // As most do: what was asked for by scope is told at the userinfo endpoint.
    claims: { openid: ['sub'], profile: ['name', 'preferred_username', 'groups'], email: ['email'] },
    cookies: { keys: ['a key for the tests'] },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_, { uid }) => `/interaction/${uid}` },
    findAccount: (_, id) => ({ accountId: id, claims: async () => ({ ...accounts.get(id), sub: id }) }),
    // Everybody has agreed that Busbar may know them.
    async loadExistingGrant({ oidc }) {
      const grant = new provider.Grant({ clientId: oidc.client?.clientId, accountId: oidc.session?.accountId })
      grant.addOIDCScope('openid profile email')
      await grant.save()
      return grant
    },
    pkce: { required: () => true },
    ttl: { Interaction: 600, Grant: 600, Session: 600, AccessToken: 600, IdToken: 600 },
  })
  warnings.mockRestore()
  const accounts = new Map<string, ProviderAccount>()
  const answer = provider.callback()
  let server: Server
  const idp: IdentityProvider = {
    issuer,
    clientId: 'busbar',
    clientSecret: 'the secret of busbar',
    account: null,
    async start() {
      server = createServer((request, response) => {
        if (!request.url?.startsWith('/interaction/')) return void answer(request, response)
        const { account } = idp
        if (account !== null) accounts.set(account.sub, account)
        const result = account === null ? { error: 'access_denied' } : { login: { accountId: account.sub } }
        void provider.interactionFinished(request, response, result)
      })
      await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
      if ((server.address() as AddressInfo).port !== port) throw new Error('the provider listens elsewhere')
    },
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  await idp.start()
  onTestFinished(() => idp.stop())
  return idp
}

/** Cookies by host, as a browser keeps them; redirects are followed until one leads to `until`. */
export class RedirectWalk {
  private readonly cookies = new Map<string, string>()

  /** The URL that begins with `until`, which is not asked for. */
  async follow(from: URL | string, until: string): Promise<URL> {
    let url = new URL(from)
    for (let hops = 0; hops < 10; hops++) {
      if (url.href.startsWith(until)) return url
      const response = await this.get(url)
      const location = response.headers.get('location')
      if (location === null)
        throw new Error(`${url.origin}${url.pathname} answers ${response.status}: ${await response.text()}`)
      url = new URL(location, url)
    }
    throw new Error('redirected in circles')
  }

  async get(url: URL | string, headers: Record<string, string> = {}): Promise<Response> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(url, { redirect: 'manual', headers: { ...headers, cookie } })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (value === '' || /max-age=0/i.test(line)) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    return response
  }

  cookie(name: string): string | undefined {
    return this.cookies.get(name)
  }
}
