/** Who may log in, for tests of what asks: callers by the token that they show, whose rights and logins can be taken. */

import { type Authentication, type Caller, callerOf, type Grant, IdentityError } from '../../cloud/identity/identity.ts'

export class TestLogins implements Authentication {
  /** Callers that were asked about, one entry a time. */
  readonly rechecks: (readonly string[])[] = []
  /** While it is set nothing can be looked up. */
  failing: Error | null = null
  private readonly callers = new Map<string, Caller>()

  /** @returns the token. Giving somebody else's rights to the same name changes what they may do. */
  add(name: string, grants: readonly Grant[], scopes: readonly string[] | null = null): string {
    const kind = scopes === null ? 'user' : 'api-key'
    const who = { kind, id: name, credentialId: `login-${name}`, scopes: scopes && new Set(scopes) } as const
    const token = `token-${name.replace(':', '.')}`
    this.callers.set(token, callerOf(who, grants))
    return token
  }

  end(token: string): void {
    this.callers.delete(token)
  }

  async authenticate(credential: string | null): Promise<Caller> {
    if (this.failing !== null) throw this.failing
    const caller = this.callers.get(credential ?? '')
    if (caller === undefined) throw new IdentityError('UNAUTHENTICATED', 'Nobody is logged in.')
    return caller
  }

  async recheck(callers: readonly Caller[]): Promise<ReadonlyMap<string, Caller>> {
    this.rechecks.push(callers.map(({ id }) => id))
    if (this.failing !== null) throw this.failing
    const known = [...this.callers.values()]
    return new Map(
      callers.flatMap(({ credentialId }) => {
        const caller = known.find((each) => each.credentialId === credentialId)
        return caller === undefined ? [] : [[credentialId as string, caller]]
      }),
    )
  }
}
