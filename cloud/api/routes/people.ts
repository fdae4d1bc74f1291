/** Whom one may talk to, and whether they are there, over REST. */

import { Type } from '@sinclair/typebox'
import type { Presence } from '../../chat/chat.ts'
import type { PeopleDirectory } from '../../identity/identity.ts'
import { doerOf } from '../http/doer.ts'
import { defineRoute, type Route } from '../http/route.ts'
import { closed, pageBody, pageSchema } from '../schemas/common.ts'
import { PEOPLE_QUERY, PersonSchema, personBody } from '../schemas/person.ts'

export interface PeopleServices {
  readonly people: Pick<PeopleDirectory, 'list'>
  readonly presence: Pick<Presence, 'of'>
}

export function peopleRoutes({ people, presence }: PeopleServices): Route[] {
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/people',
        operationId: 'listPeople',
        tag: 'chat',
        summary: 'People whom the caller may talk to, by id',
        description:
          'Active users who share a site with the caller. Where nobody logs in, those who are in a conversation.',
        permission: { role: 'viewer', scope: 'site' },
        sites: 'listed',
        query: Type.Object(PEOPLE_QUERY, closed),
        responses: { 200: { description: 'A page of people', schema: pageSchema(PersonSchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query: { userId: said, ...wanted }, caller, activity }) => {
        const userId = doerOf({ caller, activity }, said, '/userId', 'query')
        const page = await people.list(wanted, { userId, sees: caller.sites('viewer') })
        const shown = await presence.of(page.items.map(({ id }) => id))
        const byId = new Map(shown.map((each) => [each.userId, each]))
        return { status: 200, body: pageBody(page, (person) => personBody(person, byId.get(person.id))) }
      },
    ),
  ]
}
