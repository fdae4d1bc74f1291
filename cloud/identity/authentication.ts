/** What the API asks identity: who shows a credential, and whether those who showed one earlier are still who they were. */

import { type Caller, LOCAL_CALLER } from './caller.ts'

export interface Authentication {
  /**
   * @param credential access token or API key; null when none was shown.
   * @throws IdentityError UNAUTHENTICATED
   */
  authenticate(credential: string | null): Promise<Caller>
  /**
   * Each caller as it is now, by `credentialId`; those whose login ended, or whose access token was not refreshed in time,
   * are left out.
   * @throws BusbarError, retryable, when it cannot tell.
   */
  recheck(callers: readonly Caller[]): Promise<ReadonlyMap<string, Caller>>
}

/** Asks nobody to log in; see `api.insecure`. */
export const LOCAL_AUTHENTICATION: Authentication = {
  authenticate: () => Promise.resolve(LOCAL_CALLER),
  recheck: (callers) => Promise.resolve(new Map(callers.map((caller) => [caller.credentialId ?? '', caller]))),
}
