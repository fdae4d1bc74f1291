/** A role at a site, as the API shows and takes it. */

import { Type } from '@sinclair/typebox'
import { ROLES } from '../../identity/identity.ts'
import { closed, SiteIdSchema } from './common.ts'

const RoleSchema = Type.Union(
  ROLES.map((role) => Type.Literal(role)),
  { description: 'viewer, operator, engineer and admin include one another in this order; admin includes auditor' },
)

export const GrantSchema = Type.Object(
  {
    role: RoleSchema,
    siteId: Type.Union([SiteIdSchema, Type.Literal('all')], {
      description: 'The site at which the role holds; "all" for every site, those to come included',
    }),
  },
  { ...closed, $id: 'Grant' },
)
