/**
 * Entries of the activity log by what they say, the newest first. A look goes along one index; what no index knows, such as words
 * in the metadata, is tried on the entries that it passes, so many of them and no more, so that one for what is rare holds nobody
 * up: the page may then have fewer entries than were asked for, and `next` goes on from there.
 */

import { type RawBuilder, sql } from 'kysely'
import { nextTurn } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import { patternContaining } from '../database/stored-text.ts'
import type { Outcome } from './event.ts'

/** Every criterion given has to be met. */
export interface ActivityFilter {
  readonly userId?: string | undefined
  /** One of these. */
  readonly activityTypes?: readonly string[] | undefined
  /** Done at that time or later, Unix milliseconds. */
  readonly fromMs?: number | undefined
  /** Done before that time. */
  readonly toMs?: number | undefined
  readonly objectType?: string | undefined
  readonly objectId?: string | undefined
  readonly siteId?: number | undefined
  readonly outcome?: Outcome | undefined
  readonly correlationId?: string | undefined
  /** Who told of it. */
  readonly recordedBy?: string | undefined
  /** Anywhere in the metadata, capital ASCII letters or small; in what is sealed for who may see that. */
  readonly text?: string | undefined
}

/** Where an entry stands among all. */
export interface ActivityPlace {
  readonly atMs: number
  readonly eventId: string
}

export interface Found {
  readonly places: readonly ActivityPlace[]
  /** The last that was looked at; null when there is nothing older. */
  readonly last: ActivityPlace | null
}

/** Of what can be a time at all, either way from 1970. */
const TIME_MAX_MS = 8_640_000_000_000_000

export interface SearchBounds {
  /** Entries passed in one statement. */
  readonly passedAtOnce: number
  /** Statements of one look. */
  readonly stepsMax: number
}

/** Where somebody has written another one into the database there is no order: `verify` finds it, and lists go on without it. */
const HAS_TIME = sql<boolean>`at_ms between ${-TIME_MAX_MS} and ${TIME_MAX_MS}`

const BOUNDS: SearchBounds = { passedAtOnce: 2_000, stepsMax: 25 }

/** What is sealed of an entry, as JSON; null when it cannot be opened. */
export type Opener = (eventId: string, sealed: string) => string | null

interface LookedRow extends ActivityPlace {
  /** Among those that were found, from 1; 0 for the last that was passed. */
  readonly rank: number
  readonly passed: number
  /** Of one whose plain metadata lacks the text: what is to be looked for it in. */
  readonly sealed: string | null
}

type Criteria = readonly RawBuilder<boolean>[]

interface TextCriterion {
  readonly mayMeet: RawBuilder<boolean>
  /** Where the text has to be looked for in what the database cannot read; null where it is found already. */
  readonly sealed?: RawBuilder<string | null>
  readonly isIn: (eventId: string, sealed: string) => boolean
}

interface Look {
  readonly along: Criteria
  readonly tried: Criteria
  readonly text: TextCriterion | null
  readonly before: ActivityPlace | null
  readonly wanted: number
  /** Entries passed at most. */
  readonly passedMax: number
}

export class ActivitySearch {
  private readonly database: DatabaseHandle
  private readonly bounds: SearchBounds

  constructor(database: DatabaseHandle, bounds = BOUNDS) {
    this.database = database
    this.bounds = bounds
  }

  /**
   * @param limit entries at most.
   * @param open for who may see what is sealed: text is looked for in that as well.
   */
  async find(filter: ActivityFilter, before: ActivityPlace | null, limit: number, open?: Opener): Promise<Found> {
    const { along, tried } = criteriaOf(filter, this.database.dialect)
    const text = filter.text === undefined ? null : textCriterion(filter.text, this.database.dialect, open)
    const look = { along, tried, text, before, wanted: limit }
    if (tried.length === 0 && text === null) return await this.step({ ...look, passedMax: limit })
    const places: ActivityPlace[] = []
    let last = before
    for (let step = 0; step < this.bounds.stepsMax; step++) {
      if (step > 0) await nextTurn()
      const wanted = limit - places.length
      const found = await this.step({ ...look, before: last, wanted, passedMax: this.bounds.passedAtOnce })
      places.push(...found.places)
      last = found.last
      if (last === null || places.length === limit) break
    }
    return { places, last }
  }

  private async step({ along, tried, text, before, wanted, passedMax }: Look): Promise<Found> {
    const older =
      before === null
        ? []
        : [
            sql<boolean>`at_ms <= ${before.atMs}`,
            sql<boolean>`(at_ms < ${before.atMs} or event_id < ${before.eventId})`,
          ]
    const meets = allOf([...tried, ...(text === null ? [] : [text.mayMeet])])
    const { rows } = await sql<LookedRow>`
      with passed as materialized (
        select event_id, at_ms, ${meets} as meets, ${text?.sealed ?? sql`null`} as sealed from activity_logs
        where ${allOf([...along, ...older])}
        order by at_ms desc, event_id desc limit ${passedMax}
      ), found as (
        select event_id, at_ms, row_number() over (order by at_ms desc, event_id desc) as rank, sealed from passed where meets
      ), last as (
        select event_id, at_ms from passed order by at_ms, event_id limit 1
      )
      select event_id as "eventId", at_ms as "atMs", rank, 0 as passed, sealed from found
      where rank <= ${text?.sealed === undefined ? wanted : passedMax}
      union all
      select event_id, at_ms, 0, (select count(*) from passed), null from last`.execute(this.database.kysely)
    // A union keeps no order that it promises, and the database has its own of texts.
    const found = rows.filter(({ rank }) => rank > 0).sort((one, other) => one.rank - other.rank)
    const passed = rows.find(({ rank }) => rank === 0)
    const placeOf = ({ atMs, eventId }: LookedRow): ActivityPlace => ({ atMs, eventId })
    const places = found
      .filter((row) => text === null || row.sealed === null || text.isIn(row.eventId, row.sealed))
      .slice(0, wanted)
      .map(placeOf)
    // What was passed after the last that was wanted is looked at again.
    if (places.length === wanted) return { places, last: places.at(-1) ?? null }
    return { places, last: passed === undefined || passed.passed < passedMax ? null : placeOf(passed) }
  }
}

/** `along` one index, and what is `tried` on each entry that is passed on the way. */
function criteriaOf(
  filter: ActivityFilter,
  dialect: DatabaseHandle['dialect'],
): { readonly along: Criteria; readonly tried: Criteria } {
  const { userId, activityTypes, fromMs, toMs, objectType, objectId, siteId, outcome, correlationId } = filter
  const { recordedBy } = filter
  const along: RawBuilder<boolean>[] = []
  const tried: RawBuilder<boolean>[] = []
  // Each of them has an index: the first given is the way.
  const indexed = [
    ...(objectId === undefined ? [] : [sql<boolean>`object_id = ${objectId}`]),
    ...(userId === undefined ? [] : [sql<boolean>`user_id = ${userId}`]),
    ...(activityTypes?.length === 1 ? [sql<boolean>`activity_type = ${activityTypes[0]}`] : []),
  ]
  along.push(...indexed.slice(0, 1), HAS_TIME)
  tried.push(...indexed.slice(1))
  if (fromMs !== undefined) along.push(sql`at_ms >= ${fromMs}`)
  if (toMs !== undefined) along.push(sql`at_ms < ${toMs}`)
  if (activityTypes !== undefined && activityTypes.length !== 1) {
    tried.push(sql`activity_type in ${givenTexts(dialect, activityTypes)}`)
  }
  // Null is not what was asked for.
  if (objectType !== undefined) tried.push(sql`coalesce(object_type, '') = ${objectType}`)
  if (siteId !== undefined) tried.push(sql`coalesce(site_id, 0) = ${siteId}`)
  if (outcome !== undefined) tried.push(sql`coalesce(outcome, '') = ${outcome}`)
  if (correlationId !== undefined) tried.push(sql`coalesce(correlation_id, '') = ${correlationId}`)
  if (recordedBy !== undefined) tried.push(sql`coalesce(recorded_by, '') = ${recordedBy}`)
  return { along, tried }
}

/** In small letters, those of ASCII, on either database alike. */
function metadataText(dialect: DatabaseHandle['dialect']): RawBuilder<string> {
  return dialect === 'postgres' ? sql`lower(metadata collate "C")` : sql`lower(metadata)`
}

/** @param open absent for who may not see what is sealed. */
function textCriterion(text: string, dialect: DatabaseHandle['dialect'], open: Opener | undefined): TextCriterion {
  // As it stands within JSON.
  const written = smallLetters(JSON.stringify(text).slice(1, -1))
  const isPlain = sql<boolean>`${metadataText(dialect)} like ${patternContaining(written)} escape '!'`
  if (open === undefined) return { mayMeet: isPlain, isIn: () => false }
  return {
    mayMeet: sql`(${isPlain} or sealed is not null)`,
    sealed: sql`case when ${isPlain} then null else sealed end`,
    isIn: (eventId, sealed) => smallLetters(open(eventId, sealed) ?? '').includes(written),
  }
}

function smallLetters(text: string): string {
  return text.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase())
}

function allOf(criteria: Criteria): RawBuilder<boolean> {
  return criteria.length === 0 ? sql`1 = 1` : sql.join(criteria, sql` and `)
}
