/**
 * Login at an identity provider: OpenID Connect, by authorisation code with PKCE, nonce and state. The provider is asked for
 * its document when somebody first logs in; while it is away, passwords go on.
 */

import {
  AuthorizationResponseError,
  allowInsecureRequests,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  ClientError,
  ClientSecretBasic,
  type Configuration,
  calculatePKCECodeChallenge,
  discovery,
  fetchUserInfo,
  None,
  ResponseBodyError,
  WWWAuthenticateChallengeError,
} from 'openid-client'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { isLoopback } from '../../shared/loopback.ts'
import type { Random } from '../../shared/random.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { IdentityError } from './errors.ts'
import { newAttempt, type OidcAttempt, openAttempt, type Sealing, sealAttempt } from './oidc-attempt.ts'
import { hasClaims, readClaims, readRolesByGroup } from './oidc-claims.ts'
import { OidcUsers } from './oidc-users.ts'
import type { SecurityNotes } from './security-events.ts'

export interface OidcSettings {
  /** An https URL; http is for loopback, with `insecure`. */
  readonly issuer: string
  readonly clientId: string
  /** Empty for a public client. */
  readonly clientSecret: string
  readonly scope: string
  readonly userClaim: string
  readonly rolesClaim: string
  readonly roles: Readonly<Record<string, string>>
  readonly insecure: boolean
}

export interface OidcOptions {
  readonly settings: OidcSettings
  readonly database: DatabaseHandle
  readonly masterKey: Sealing
  readonly events: SecurityNotes
  /** Called after what may change what somebody may do. */
  readonly onChange: () => void
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** Who came back from the identity provider. */
export interface OidcVisitor {
  readonly userId: string
  readonly returnTo: string
}

/** One request to the provider; a browser waits for it. */
const ANSWER_TIMEOUT_S = 10
/** The provider's document is read again after so long. */
const DISCOVERED_MS = 3_600_000

export class OidcLogins {
  private readonly options: OidcOptions
  private readonly users: OidcUsers
  private discovered: { readonly found: Promise<Configuration>; readonly atMs: number } | null = null

  /** @throws BusbarError CONFIG_INVALID */
  constructor(options: OidcOptions) {
    const { settings, database, events, onChange, clock } = options
    this.options = options
    this.users = new OidcUsers({
      database,
      events,
      onChange,
      clock,
      ...settings,
      roles: readRolesByGroup(settings.roles),
    })
  }

  /**
   * @param redirectUri where the provider sends the browser back to.
   * @param returnTo the path to show afterwards, if it is one of ours.
   * @returns the provider's page, and what the browser keeps meanwhile.
   * @throws BusbarError OIDC_UNAVAILABLE
   */
  async begin(redirectUri: string, returnTo: string | null): Promise<{ readonly url: URL; readonly sealed: string }> {
    const { settings, masterKey } = this.options
    const configuration = await this.configuration()
    const attempt = newAttempt(returnTo, this.options)
    const url = buildAuthorizationUrl(configuration, {
      redirect_uri: redirectUri,
      scope: settings.scope,
      state: attempt.state,
      nonce: attempt.nonce,
      code_challenge: await calculatePKCECodeChallenge(attempt.verifier),
      code_challenge_method: 'S256',
    })
    return { url, sealed: sealAttempt(attempt, masterKey) }
  }

  /**
   * @param callback the URL at which the browser came back: that of `begin`, with what the provider put behind it.
   * @param sealed what the browser kept; null when it has nothing.
   * @throws IdentityError; BusbarError OIDC_UNAVAILABLE
   */
  async finish(callback: URL, sealed: string | null, address: string): Promise<OidcVisitor> {
    const { masterKey, events, clock } = this.options
    const note = (subject: string, detail: string) => events.note({ kind: 'oidc-refused', subject, detail, address })
    const attempt = openAttempt(sealed, masterKey, clock)
    if (attempt === null) {
      note('unknown', 'somebody came back from the identity provider who did not begin here, or too long ago')
      throw refused('This login was not begun in this browser, or more than ten minutes ago.')
    }
    const configuration = await this.configuration()
    let subject = 'unknown'
    try {
      const { claims, oidcSubject } = await this.redeem(configuration, callback, attempt)
      subject = oidcSubject
      const userId = await this.users.admit({ ...readClaims(claims, this.options.settings), oidcSubject })
      return { userId, returnTo: attempt.returnTo }
    } catch (error) {
      const told = this.translate(error)
      if (told instanceof IdentityError) note(subject, `${told.code}: ${messageOf(error)}`)
      throw told
    }
  }

  private async redeem(configuration: Configuration, callback: URL, { state, nonce, verifier }: OidcAttempt) {
    const tokens = await authorizationCodeGrant(configuration, callback, {
      expectedState: state,
      expectedNonce: nonce,
      pkceCodeVerifier: verifier,
      idTokenExpected: true,
    })
    const proven = tokens.claims()
    if (proven === undefined) throw refused('The identity provider sent no ID token.')
    const { iss, sub } = proven
    const oidcSubject = `${iss} ${sub}`
    // Many providers keep the ID token short and tell the rest when they are asked.
    const isEnough = hasClaims(proven, this.options.settings)
    if (isEnough || configuration.serverMetadata().userinfo_endpoint === undefined)
      return { claims: proven, oidcSubject }
    const told = await fetchUserInfo(configuration, tokens.access_token, sub)
    return { claims: { ...told, ...proven }, oidcSubject }
  }

  /** One at a time; what failed is tried again by the next login. */
  private configuration(): Promise<Configuration> {
    const { clock } = this.options
    const known = this.discovered
    if (known !== null && clock.monotonicMs() - known.atMs < DISCOVERED_MS) return known.found
    const discovered = { found: this.discover(), atMs: clock.monotonicMs() }
    this.discovered = discovered
    return discovered.found
  }

  private async discover(): Promise<Configuration> {
    const { issuer, clientId, clientSecret, insecure } = this.options.settings
    const url = new URL(issuer)
    const mayBePlain = insecure && isLoopback(url.hostname)
    try {
      return await discovery(
        url,
        clientId,
        clientSecret === '' ? undefined : clientSecret,
        clientSecret === '' ? None() : ClientSecretBasic(clientSecret),
        { timeout: ANSWER_TIMEOUT_S, execute: mayBePlain ? [allowInsecureRequests] : [] },
      )
    } catch (error) {
      this.discovered = null
      throw this.unavailable(error)
    }
  }

  /** What goes wrong with a login is either the provider's being away, or a reason to let nobody in. */
  private translate(error: unknown): unknown {
    if (error instanceof BusbarError) return error
    if (error instanceof AuthorizationResponseError) {
      const denied = error.error === 'access_denied'
      return refused(denied ? 'The identity provider let nobody in.' : `The identity provider says ${error.error}.`)
    }
    // What the provider has against this core is not for whoever logs in.
    if (error instanceof WWWAuthenticateChallengeError || isNetworkFailure(error)) return this.unavailable(error)
    if (error instanceof ResponseBodyError) {
      const isOurs = error.status >= 500 || /_client$/.test(error.error)
      return isOurs
        ? this.unavailable(error)
        : refused('The identity provider does not take this login: it may have been used already.')
    }
    if (error instanceof ClientError) return refused('What came back from the identity provider is not what was asked.')
    return error
  }

  private unavailable(cause: unknown): BusbarError {
    const { log, settings } = this.options
    const reason = cause instanceof ResponseBodyError ? `${cause.error} (${cause.status})` : messageOf(cause)
    log.warn({ issuer: settings.issuer, error: reason, cause: causeOf(cause) }, 'identity provider is not available')
    return new BusbarError('The identity provider cannot be asked at present.', {
      code: 'OIDC_UNAVAILABLE',
      retryable: true,
      hint: 'Try again later, or log in with a password; the log of the server says why.',
      cause,
    })
  }
}

function refused(message: string): IdentityError {
  return new IdentityError('UNAUTHENTICATED', message, { code: 'OIDC_REFUSED', hint: 'Begin again at /login.' })
}

/** fetch says what the network refused by a TypeError, on Bun by an Error with a code. */
function isNetworkFailure(error: unknown): boolean {
  if (error instanceof ClientError)
    return (
      error.code === 'OAUTH_TIMEOUT' || error.code === 'OAUTH_RESPONSE_IS_NOT_CONFORM' || isConnectionError(error.cause)
    )
  return error instanceof TypeError || isConnectionError(error)
}

function isConnectionError(error: unknown): boolean {
  const code = (error as { code?: unknown } | null | undefined)?.code
  return typeof code === 'string' && /^(E[A-Z]+|Connection[A-Za-z]+|FailedToOpenSocket)$/.test(code)
}

function causeOf(error: unknown): string | undefined {
  const cause = error instanceof Error ? error.cause : undefined
  return cause === undefined ? undefined : messageOf(cause)
}
