/** The tokens that a core gives whoever logs in, as they are kept on this machine. */

import type { loggedInBody } from '../api/schemas/identity.ts'
import type { ApiClient } from './api-client.ts'
import { refuseInClear } from './credentials.ts'
import type { StoredLogin } from './credentials-file.ts'

export type LoggedInBody = ReturnType<typeof loggedInBody>

/** New tokens for a refresh token, which is good once. @throws BusbarError LOGIN_ENDED */
export async function renewLogin(api: ApiClient, refreshToken: string): Promise<StoredLogin> {
  refuseInClear(new URL(api.origin))
  return storedLogin(await api.postOnce<LoggedInBody>('/api/v1/auth/refresh', { refreshToken }))
}

export function storedLogin({ user, accessToken, expiresAt, refreshToken }: LoggedInBody): StoredLogin {
  if (accessToken === undefined || refreshToken === undefined) throw new Error('the core gave no tokens')
  return { userId: user.id, accessToken, accessExpiresAtMs: Date.parse(expiresAt), refreshToken }
}
