/**
 * Users who log in at the identity provider. It alone says who they are and what they may do: at every login their roles
 * become what their groups give. It does not say who somebody else is: a user who is here by another way stays that user.
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { isDuplicate } from '../database/failure.ts'
import type { Database } from '../database/schema.ts'
import { InvalidRegistrationError } from '../registry/errors.ts'
import { IdentityError } from './errors.ts'
import { type ClaimedUser, grantsOfGroups, type RolesByGroup } from './oidc-claims.ts'
import type { Grant } from './roles.ts'
import type { SecurityNotes } from './security-events.ts'
import { checkUserId, grantText, isAdministrator } from './user.ts'
import { UserStore } from './user-store.ts'

/** What an identity provider vouches for. */
export interface ProvenUser extends ClaimedUser {
  /** `issuer subject`: what is never given to anybody else there. */
  readonly oidcSubject: string
}

export interface OidcUsersOptions {
  readonly database: DatabaseHandle
  readonly roles: RolesByGroup
  /** Claims by name, for what is told of them. */
  readonly userClaim: string
  readonly rolesClaim: string
  readonly events: SecurityNotes
  /** Called after what may change what somebody may do. */
  readonly onChange: () => void
  readonly clock: Clock
}

/** Groups named in a refusal. */
const GROUPS_SHOWN_MAX = 10

export class OidcUsers {
  private readonly options: OidcUsersOptions
  private readonly store: UserStore

  constructor(options: OidcUsersOptions) {
    this.options = options
    this.store = new UserStore(options.database)
  }

  /**
   * Makes the user, or brings it up to date; resolves with its id.
   * @throws IdentityError FORBIDDEN or CONFLICT
   */
  async admit(proven: ProvenUser): Promise<string> {
    const { database, roles, events, onChange } = this.options
    const grants = grantsOfGroups(proven.groups, roles)
    const write = () => database.transaction((transaction) => this.write(proven, grants, transaction))
    // Another login of the same user may make it meanwhile.
    const { id, before } = await write().catch(async (error: unknown) => {
      if (isDuplicate(error)) return await write()
      throw error
    })
    onChange()
    if (isAdministrator(grants) && !isAdministrator(before)) {
      const detail = 'The identity provider made this user an administrator of everything.'
      events.note({ kind: 'administrator-made', subject: id, detail })
    }
    // Only now: what the groups no longer give must be taken, not only refused.
    if (grants.length === 0) throw this.withoutRole(proven)
    return id
  }

  private async write(
    proven: ProvenUser,
    grants: readonly Grant[],
    transaction: Transaction<Database>,
  ): Promise<{ readonly id: string; readonly before: readonly Grant[] }> {
    const nowMs = this.options.clock.wallMs()
    const known = await this.store.ofProvider(proven.oidcSubject, transaction)
    if (known === null) {
      const id = this.newId(proven)
      if ((await this.store.get(id, transaction)) !== null) throw taken(id)
      const { name, email, oidcSubject } = proven
      if (grants.length === 0) return { id, before: [] }
      await this.store.insert({ id, name, email, passwordHash: null, oidcSubject }, grants, nowMs, transaction)
      return { id, before: [] }
    }
    const { id, status, grants: held } = (await this.store.lock(known.id, transaction)) ?? known
    if (status !== 'active') {
      throw new IdentityError('FORBIDDEN', `The user ${id} is disabled here.`, {
        code: 'USER_DISABLED',
        hint: 'An administrator can enable it: busbar-cloud user enable.',
      })
    }
    await this.store.update(id, { name: proven.name, email: proven.email }, nowMs, transaction)
    if (textOf(held) !== textOf(grants)) await this.store.replaceGrants(id, grants, transaction)
    return { id, before: held }
  }

  private newId({ id }: ProvenUser): string {
    const { userClaim } = this.options
    if (id === null) {
      throw new IdentityError('FORBIDDEN', `The identity provider does not say ${userClaim}, which names users here.`, {
        code: 'OIDC_USER_UNNAMED',
        hint: 'An administrator can name another claim in identity.oidc.userClaim, or more in identity.oidc.scope.',
      })
    }
    try {
      checkUserId(id)
      return id
    } catch (error) {
      if (!(error instanceof InvalidRegistrationError)) throw error
      const remedy = error.fields[0]?.remedy ?? 'another'
      throw new IdentityError(
        'FORBIDDEN',
        `The identity provider names you in a way that is no name here: ${userClaim}.`,
        {
          code: 'OIDC_USER_UNNAMED',
          hint: `It must be ${remedy}. An administrator can name another claim in identity.oidc.userClaim.`,
        },
      )
    }
  }

  private withoutRole({ groups }: ProvenUser): IdentityError {
    const shown = groups.slice(0, GROUPS_SHOWN_MAX).join(', ')
    const more = groups.length > GROUPS_SHOWN_MAX ? ` and ${groups.length - GROUPS_SHOWN_MAX} more` : ''
    const said = groups.length === 0 ? `no groups (${this.options.rolesClaim})` : `the groups ${shown}${more}`
    return new IdentityError('FORBIDDEN', `You have no role here: the identity provider says ${said}.`, {
      code: 'OIDC_NO_ROLE',
      hint: 'Ask for a group that has one; an administrator sets what groups may do in identity.oidc.roles.',
    })
  }
}

function textOf(grants: readonly Grant[]): string {
  return grants.map(grantText).sort().join(' ')
}

function taken(id: string): IdentityError {
  return new IdentityError('CONFLICT', `There is a user ${id} here already who does not log in that way.`, {
    code: 'OIDC_USER_TAKEN',
    hint: 'Log in with your password, or ask an administrator: one of the two needs another name.',
  })
}
