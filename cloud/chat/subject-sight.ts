/**
 * Who may see what a conversation is about. Of what is not kept any more that is still known: it was written down beside the
 * conversation while it was there.
 */

import { type Kysely, sql, type Transaction } from 'kysely'
import type { Alerts } from '../alerts/alerts.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { parsedText } from '../database/stored-text.ts'
import { sitesSeen } from '../identity/identity.ts'
import type { Tasks } from '../orchestration/orchestration.ts'
import type { Registry } from '../registry/registry.ts'
import { includesSites, NO_SITE, type SiteScope } from '../registry/site-scope.ts'
import { type Subject, type SubjectKind, subjectConversationId } from './conversation.ts'

/** Where what conversations are about is found. */
export interface SubjectSources {
  readonly sites: Pick<Registry['sites'], 'some'>
  readonly tasks: Pick<Tasks['store'], 'some' | 'sights'>
  readonly alerts: Pick<Alerts, 'some'>
}

/** Who sees all of the sites sees it, and so does who asked for it. */
export interface Sight {
  /** None of them for what is at no known site, which is for those who see every site. */
  readonly siteIds: readonly number[]
  readonly askedBy: string | null
}

export class SubjectSight {
  private readonly database: DatabaseHandle
  private readonly sources: SubjectSources

  constructor(options: { readonly database: DatabaseHandle; readonly subjects: SubjectSources }) {
    this.database = options.database
    this.sources = options.subjects
  }

  /** By `subjectKey`. What is not known at all is left out, and for those who see every site. */
  async of(subjects: readonly Subject[], kysely: Kysely<Database>): Promise<ReadonlyMap<string, Sight>> {
    const found = new Map<string, Sight>()
    const ids = (kind: SubjectKind) => subjects.flatMap((subject) => (subject.kind === kind ? [subject.id] : []))
    for (const id of ids('site')) found.set(subjectKey({ kind: 'site', id }), { siteIds: [Number(id)], askedBy: null })
    const [tasks, alerts] = [ids('task'), ids('alert')]
    if (tasks.length > 0) {
      for (const [id, { siteIds, requestedBy }] of await this.sources.tasks.sights(tasks, kysely)) {
        found.set(subjectKey({ kind: 'task', id }), { siteIds, askedBy: requestedBy })
      }
    }
    if (alerts.length > 0) {
      for (const { id, siteId } of await this.sources.alerts.some(alerts, kysely)) {
        found.set(subjectKey({ kind: 'alert', id }), { siteIds: [siteId], askedBy: null })
      }
    }
    const gone = subjects.filter((subject) => !found.has(subjectKey(subject)))
    if (gone.length > 0) for (const [key, sight] of await this.remembered(gone, kysely)) found.set(key, sight)
    return found
  }

  /**
   * Those of the users who may see it; everybody where it is null, as in conversations that are about nothing of ours. Who is
   * no user sees it, which is everybody where nobody logs in.
   */
  async visibleTo(
    subject: Subject | null,
    userIds: readonly string[],
    kysely: Kysely<Database>,
  ): Promise<ReadonlySet<string>> {
    if (subject === null || userIds.length === 0) return new Set(userIds)
    const sight = (await this.of([subject], kysely)).get(subjectKey(subject)) ?? null
    const seen = await sitesSeen(userIds, kysely, this.database.dialect)
    return new Set(userIds.filter((userId) => isSeen(sight, userId, seen.get(userId) ?? 'all')))
  }

  /** Writes down beside its conversation who may see it, for when it is not kept any more. */
  async remember(subject: Subject, transaction: Transaction<Database>): Promise<void> {
    const sight = (await this.of([subject], transaction)).get(subjectKey(subject))
    if (sight === undefined) return
    await transaction
      .updateTable('conversations')
      .set({ subject_sites: JSON.stringify(sight.siteIds), subject_asked_by: sight.askedBy })
      .where('id', '=', subjectConversationId(subject))
      .execute()
  }

  private async remembered(subjects: readonly Subject[], kysely: Kysely<Database>): Promise<Map<string, Sight>> {
    const rows = await kysely
      .selectFrom('conversations')
      .select(['kind', 'subject_id', 'subject_sites', 'subject_asked_by'])
      .where(sql<boolean>`id in ${givenTexts(this.database.dialect, subjects.map(subjectConversationId))}`)
      .where('subject_sites', 'is not', null)
      .execute()
    return new Map(
      rows.map((row) => [
        subjectKey({ kind: row.kind as SubjectKind, id: row.subject_id as string }),
        { siteIds: parsedText(row.subject_sites) as readonly number[], askedBy: row.subject_asked_by },
      ]),
    )
  }
}

export function subjectKey({ kind, id }: Subject): string {
  return `${kind}/${id}`
}

export function isSeen(sight: Sight | null, userId: string, sees: SiteScope): boolean {
  if (sight === null) return sees === 'all'
  if (sight.askedBy === userId) return true
  return includesSites(sees, sight.siteIds.length === 0 ? [NO_SITE] : sight.siteIds)
}
