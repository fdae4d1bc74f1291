/**
 * What each service of the core must be allowed to do at Kafka, and nothing beyond: read off the catalogue, by who
 * produces and who consumes each topic.
 *
 * READ, WRITE and DELETE imply DESCRIBE. An idempotent producer needs no right of its own where it may write some topic;
 * brokers before Kafka 2.8 want IDEMPOTENT_WRITE on the cluster.
 */

import {
  ANALYTICS_GROUP,
  COMMAND_ORCHESTRATOR_GROUP,
  COMMUNICATION_GROUP,
  DEAD_LETTER_INDEX_GROUP,
  NOTIFICATION_DELIVERY_GROUP,
  NOTIFICATION_GROUP,
  TAIL_GROUP_PREFIX,
  TASK_ORCHESTRATION_GROUP,
  type TopicSpec,
  TRANSACTIONAL_ID_PREFIX,
  USER_ACTIVITY_GROUP,
} from './catalogue.ts'

/** As the brokers' tools spell them. */
export type AclOperation = 'Create' | 'Delete' | 'Describe' | 'DescribeConfigs' | 'Read' | 'Write'

export interface Acl {
  readonly service: AclService
  /** As the brokers' tools call them. */
  readonly resource: 'topic' | 'group' | 'transactional-id'
  readonly name: string
  /** `prefixed`: everything whose name begins so. */
  readonly pattern: 'literal' | 'prefixed'
  readonly operations: readonly AclOperation[]
}

/** Who writes through the outbox, by the names that the catalogue has for them; the relay publishes it. */
const THROUGH_OUTBOX = [
  'command service',
  'command orchestrator',
  'task orchestration',
  'notification',
  'silence watch',
  'device commands',
  'communication',
  'activity recorder',
  'activity windows',
]

/** The services by what they are in the catalogue: producers under these names, and members of these groups. */
const SERVICES = {
  ingest: { producers: ['ingest'], groups: [] },
  relay: { producers: THROUGH_OUTBOX, groups: [] },
  analytics: { producers: [], groups: [ANALYTICS_GROUP] },
  alerts: { producers: [], groups: [NOTIFICATION_GROUP] },
  delivery: { producers: [], groups: [NOTIFICATION_DELIVERY_GROUP] },
  communication: { producers: ['typing'], groups: [COMMUNICATION_GROUP] },
  orchestration: { producers: [], groups: [TASK_ORCHESTRATION_GROUP, COMMAND_ORCHESTRATOR_GROUP] },
  activity: { producers: ['activity API', 'activity processor'], groups: [USER_ACTIVITY_GROUP] },
} as const satisfies Readonly<Record<string, { producers: readonly string[]; groups: readonly string[] }>>

/** What the core is made of, and `topic-setup`, which makes the topics and need not be the core. */
export const ACL_SERVICES = [
  ...(Object.keys(SERVICES) as (keyof typeof SERVICES)[]),
  'dead-letters',
  'live',
  'topic-check',
  'topic-setup',
] as const
export type AclService = (typeof ACL_SERVICES)[number]

/** Services of a core whose topics are there already. */
export const CORE_SERVICES: readonly AclService[] = ACL_SERVICES.filter((service) => service !== 'topic-setup')

/** @param tailed topics that are followed live, outside any group of the catalogue. */
export function aclsOf(topics: readonly TopicSpec[], tailed: readonly string[]): readonly Acl[] {
  return [
    ...Object.entries(SERVICES).flatMap(([service, use]) => ofMember(service as AclService, use, topics)),
    ...ofDeadLetters(topics),
    // What is posted together is published as one, whatever its keys.
    {
      service: 'activity',
      resource: 'transactional-id',
      name: TRANSACTIONAL_ID_PREFIX,
      pattern: 'prefixed',
      operations: ['Describe', 'Write'],
    },
    ...tailed.map((name) => topicAcl('live', name, ['Read'])),
    // A tail that stops deletes its group.
    {
      service: 'live',
      resource: 'group',
      name: TAIL_GROUP_PREFIX,
      pattern: 'prefixed',
      operations: ['Read', 'Delete'],
    },
    ...topics.map(({ topic }) => topicAcl('topic-check', topic, ['Describe', 'DescribeConfigs'])),
    ...topics.map(({ topic }) => topicAcl('topic-setup', topic, ['Create', 'Describe', 'DescribeConfigs'])),
  ]
}

function ofMember(
  service: AclService,
  { producers, groups }: { readonly producers: readonly string[]; readonly groups: readonly string[] },
  topics: readonly TopicSpec[],
): Acl[] {
  const ofTopics = topics.flatMap((spec) => {
    const reads = spec.groups.some((group) => groups.includes(group))
    const writes = spec.producers.some((producer) => producers.includes(producer) || groups.includes(producer))
    const operations: AclOperation[] = [...(reads ? (['Read'] as const) : []), ...(writes ? (['Write'] as const) : [])]
    return operations.length === 0 ? [] : [topicAcl(service, spec.topic, operations)]
  })
  return [...ofTopics, ...groups.map((group) => groupAcl(service, group))]
}

/** Reads every dead-letter topic, and replays to the topics that the records were on. */
function ofDeadLetters(topics: readonly TopicSpec[]): Acl[] {
  const consumed = topics.filter(({ deadLetterTopic }) => deadLetterTopic !== null)
  return [
    ...consumed.map(({ deadLetterTopic }) => topicAcl('dead-letters', deadLetterTopic as string, ['Read'])),
    ...consumed.map(({ topic }) => topicAcl('dead-letters', topic, ['Write'])),
    groupAcl('dead-letters', DEAD_LETTER_INDEX_GROUP),
  ]
}

function topicAcl(service: AclService, name: string, operations: readonly AclOperation[]): Acl {
  return { service, resource: 'topic', name, pattern: 'literal', operations }
}

function groupAcl(service: AclService, name: string): Acl {
  return { service, resource: 'group', name, pattern: 'literal', operations: ['Read'] }
}
