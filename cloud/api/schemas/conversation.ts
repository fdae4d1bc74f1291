/** Conversations and their members, as the API shows and takes them. */

import { type Static, type TObject, Type } from '@sinclair/typebox'
import {
  CONVERSATION_KINDS,
  type ConversationView,
  type Member,
  type MemberView,
  SUBJECT_KINDS,
  TITLE_CHARS_MAX,
  UNREAD_COUNTED_MAX,
} from '../../chat/chat.ts'
import { AlertIdSchema } from './alert.ts'
import { LastMessageSchema, lastMessageBody } from './chat-message.ts'
import { ConversationIdSchema, MarkSchema, MemberRoleSchema, RevisionSchema } from './chat-terms.ts'
import { closed, NameSchema, nullable, SiteIdSchema, TimeSchema, time, timeOrNull } from './common.ts'
import { DoerSchema, PersonIdSchema } from './person.ts'
import { TaskIdSchema } from './task.ts'

/** People that one request names; more are added in several. */
const PEOPLE_MAX = 1_000

export const ConversationKindSchema = Type.Union(
  CONVERSATION_KINDS.map((kind) => Type.Literal(kind)),
  { description: 'site, task and alert are about one of those, whose title and link they follow' },
)
const TitleSchema = Type.String({ ...NameSchema, maxLength: TITLE_CHARS_MAX })
const PeopleSchema = Type.Array(PersonIdSchema, {
  maxItems: PEOPLE_MAX,
  description: 'People that GET /api/v1/people lists; how many there may be in all is the setting chat.membersMax',
})
const doer = { userId: Type.Optional(DoerSchema) }

const NewDirectSchema = Type.Object(
  {
    kind: Type.Literal('direct'),
    with: { ...PersonIdSchema, description: `The other one: ${PersonIdSchema.description}` },
    ...doer,
  },
  { ...closed, $id: 'NewDirectConversation', description: 'Of two, who have one, whoever of them begins it' },
)
const NewGroupSchema = Type.Object(
  { kind: Type.Literal('group'), title: TitleSchema, userIds: Type.Optional(PeopleSchema), ...doer },
  { ...closed, $id: 'NewGroupConversation', description: 'Whoever begins it is in it, as its owner' },
)
const NewSiteSchema = Type.Object(
  { kind: Type.Literal('site'), siteId: SiteIdSchema, ...doer },
  { ...closed, $id: 'NewSiteConversation', description: 'The one about this site' },
)
const NewTaskSchema = Type.Object(
  { kind: Type.Literal('task'), taskId: TaskIdSchema, ...doer },
  { ...closed, $id: 'NewTaskConversation', description: 'The one about this task' },
)
const NewAlertSchema = Type.Object(
  { kind: Type.Literal('alert'), alertId: AlertIdSchema, ...doer },
  { ...closed, $id: 'NewAlertConversation', description: 'The one about this alert' },
)

const NEW_ONES = [NewDirectSchema, NewGroupSchema, NewSiteSchema, NewTaskSchema, NewAlertSchema] as const

export const NewConversationSchema = Type.Union([...NEW_ONES], {
  $id: 'NewConversation',
  discriminator: discriminator(NEW_ONES),
})

export const ConversationChangesSchema = Type.Object(
  {
    title: Type.Optional({ ...TitleSchema, description: `Of a group, by an owner. ${TitleSchema.description}` }),
    archived: Type.Optional(
      Type.Boolean({ description: 'One that is archived can be read, and nothing else until it is opened again' }),
    ),
    ...doer,
  },
  { ...closed, $id: 'ConversationChanges', description: 'Members that are absent stay as they are' },
)
export const NewMembersSchema = Type.Object(
  { userIds: { ...PeopleSchema, minItems: 1 }, ...doer },
  { ...closed, $id: 'NewMembers' },
)
export const MemberChangesSchema = Type.Object({ role: MemberRoleSchema, ...doer }, { ...closed, $id: 'MemberChanges' })

export const ConversationSchema = Type.Object(
  {
    conversationId: ConversationIdSchema,
    kind: ConversationKindSchema,
    title: Type.String({ description: 'Of a conversation of two, the name of the other one' }),
    link: nullable(
      Type.String({
        description: 'Where the API has what it is about; null of nothing, and of what is not kept any more',
      }),
    ),
    subject: nullable(
      Type.Object({ kind: Type.Union(SUBJECT_KINDS.map((kind) => Type.Literal(kind))), id: Type.String() }, closed),
    ),
    with: nullable({ ...PersonIdSchema, description: 'Of a conversation of two, the other one' }),
    role: { ...MemberRoleSchema, description: `One's own. ${MemberRoleSchema.description}` },
    memberCount: Type.Integer({ minimum: 1 }),
    unreadCount: Type.Integer({
      minimum: 0,
      maximum: UNREAD_COUNTED_MAX,
      description: `Messages of others that one has not read; more than ${UNREAD_COUNTED_MAX} are not counted`,
    }),
    lastMessage: nullable(LastMessageSchema),
    lastActivityAt: { ...TimeSchema, description: 'When somebody said something last, or it was begun' },
    lastRevision: RevisionSchema,
    readPosition: MarkSchema,
    deliveredPosition: MarkSchema,
    createdAt: TimeSchema,
    createdBy: PersonIdSchema,
    archivedAt: nullable(TimeSchema),
    archivedBy: nullable(PersonIdSchema),
  },
  { ...closed, $id: 'Conversation', description: 'As one who is in it sees it' },
)

const MEMBER_MEMBERS = {
  userId: PersonIdSchema,
  role: MemberRoleSchema,
  joinedAt: TimeSchema,
  readPosition: MarkSchema,
  readAt: nullable({ ...TimeSchema, description: 'When that went up last' }),
  deliveredPosition: MarkSchema,
  deliveredAt: nullable({ ...TimeSchema, description: 'When that went up last' }),
}

/** As a change of one leaves it. */
export const MemberSchema = Type.Object(MEMBER_MEMBERS, { ...closed, $id: 'ConversationMember' })

export const ShownMemberSchema = Type.Object(
  {
    ...MEMBER_MEMBERS,
    name: nullable(Type.String()),
    sees: Type.Boolean({
      description: 'False for who may not see any more what it is about, and is as if they were not in it',
    }),
  },
  {
    ...closed,
    $id: 'ShownConversationMember',
    description: 'Somebody who is in a conversation, and how far they have come',
  },
)

export const MembersAddedSchema = Type.Object(
  { conversation: ConversationSchema, added: Type.Array(PersonIdSchema, { description: 'Who was not in it before' }) },
  { ...closed, $id: 'MembersAdded' },
)

export function conversationBody(view: ConversationView): Static<typeof ConversationSchema> {
  const { id, kind, title, link, subject, withUserId, memberCount, unread, lastMessage, own } = view
  const { lastActivityAtMs, lastRevision, createdAtMs, createdBy, archivedAtMs, archivedBy } = view
  return {
    ...{
      conversationId: id,
      kind,
      title,
      link,
      subject,
      with: withUserId,
      role: own.role,
      memberCount,
      unreadCount: unread,
    },
    lastMessage: lastMessage && lastMessageBody(lastMessage),
    ...{ lastActivityAt: time(lastActivityAtMs), lastRevision },
    ...{ readPosition: own.readPosition, deliveredPosition: own.deliveredPosition },
    ...{ createdAt: time(createdAtMs), createdBy, archivedAt: timeOrNull(archivedAtMs), archivedBy },
  }
}

export function memberBody(member: Member): Static<typeof MemberSchema> {
  const { userId, role, joinedAtMs, readPosition, readAtMs, deliveredPosition, deliveredAtMs } = member
  return {
    ...{ userId, role, joinedAt: time(joinedAtMs), readPosition, readAt: timeOrNull(readAtMs) },
    ...{ deliveredPosition, deliveredAt: timeOrNull(deliveredAtMs) },
  }
}

export function shownMemberBody(member: MemberView): Static<typeof ShownMemberSchema> {
  return { ...memberBody(member), name: member.name, sees: member.sees }
}

/** As OpenAPI has it: names are found by the value of `kind`. */
function discriminator(members: readonly TObject[]) {
  const mapping = members.map(({ $id, properties }) => [properties.kind?.const, `#/components/schemas/${$id}`])
  return { propertyName: 'kind', mapping: Object.fromEntries(mapping) as Readonly<Record<string, string>> }
}
