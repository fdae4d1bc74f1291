/** Whether something is an activity as the contract has it: the same check for what is posted and for what is on the topic. Pure. */

import type { Static } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { INSTANT_FORM, readInstant } from '../../shared/instant.ts'
import { isDeeper } from '../../shared/json-depth.ts'
import { schemaErrors } from '../../shared/schema-errors.ts'
import type { ActivityTypes } from './activity-types.ts'
import { ACTIVITY_EXTRAS, type CheckedActivity, UserActivitySchema } from './event.ts'

export interface ActivityRules {
  readonly types: Pick<ActivityTypes, 'has'>
  readonly metadataBytesMax: number
  /** How far after `nowMs` it may have been done. */
  readonly futureToleranceMs: number
  readonly nowMs: number
}

export interface ActivityProblem {
  /** JSON Pointer to the value, "" for the whole. */
  readonly pointer: string
  /** What was given, shortened; absent when nothing was. */
  readonly value?: unknown
  /** What the value may be, or what to do with it. */
  readonly remedy: string
}

export type ActivityCheck = { readonly activity: CheckedActivity } | { readonly problems: readonly ActivityProblem[] }

/** Levels of arrays and objects in metadata; it is written again, which takes the stack. */
const METADATA_DEPTH_MAX = 32
/** Members that may hold any character, and must be text that can be stored. */
const TEXTS = ['userId', 'objectType', 'objectId', 'correlationId', 'recordedBy'] as const
const EXTRAS = Object.keys(ACTIVITY_EXTRAS)

const checker = TypeCompiler.Compile(UserActivitySchema)

/** The activity, with `source` null, or everything that is wrong with it. */
export function checkActivity(value: unknown, rules: ActivityRules): ActivityCheck {
  const given = withoutNulls(value)
  if (!checker.Check(given)) return { problems: schemaErrors(checker, given) }
  const problems = problemsOf(given, rules)
  if (problems.length > 0) return { problems }
  return {
    activity: {
      eventId: given.eventId,
      userId: given.userId,
      activityType: given.activityType,
      atMs: readInstant(given.timestamp) as number,
      version: given.version,
      metadata: given.metadata,
      outcome: given.outcome ?? null,
      objectType: given.objectType ?? null,
      objectId: given.objectId ?? null,
      siteId: given.siteId ?? null,
      correlationId: given.correlationId ?? null,
      recordedBy: given.recordedBy ?? null,
      source: null,
    },
  }
}

/** A member that may be absent may as well be null, as other languages and encodings write it. */
function withoutNulls(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  const nulls = EXTRAS.filter((name) => (value as Record<string, unknown>)[name] === null)
  if (nulls.length === 0) return value
  return Object.fromEntries(Object.entries(value).filter(([name]) => !nulls.includes(name)))
}

function problemsOf(given: Static<typeof UserActivitySchema>, rules: ActivityRules): ActivityProblem[] {
  const { activityType, timestamp, metadata } = given
  const problems: ActivityProblem[] = []
  for (const name of TEXTS) {
    if (given[name]?.isWellFormed() === false) {
      problems.push({ pointer: `/${name}`, remedy: 'text without halves of surrogate pairs' })
    }
  }
  if (!rules.types.has(activityType)) {
    const remedy = 'a type of the catalogue (busbar-cloud activity types), or one that activity.types names'
    problems.push({ pointer: '/activityType', value: activityType, remedy })
  }
  const atMs = readInstant(timestamp)
  if (atMs === null) {
    problems.push({ pointer: '/timestamp', value: timestamp, remedy: INSTANT_FORM })
  } else if (atMs > rules.nowMs + rules.futureToleranceMs) {
    const latest = new Date(rules.nowMs + rules.futureToleranceMs).toISOString()
    problems.push({ pointer: '/timestamp', value: timestamp, remedy: `a time up to ${latest}; check the clock` })
  }
  if (isDeeper(metadata, METADATA_DEPTH_MAX)) {
    problems.push({ pointer: '/metadata', remedy: `at most ${METADATA_DEPTH_MAX} levels of arrays and objects` })
  } else if (Buffer.byteLength(JSON.stringify(metadata)) > rules.metadataBytesMax) {
    problems.push({ pointer: '/metadata', remedy: `at most ${rules.metadataBytesMax} bytes of JSON` })
  }
  return problems
}
