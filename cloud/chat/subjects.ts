/** What conversations are about, as it is shown: a title and a link that follow it. */

import type { Kysely } from 'kysely'
import type { AlertView } from '../alerts/alerts.ts'
import type { Database } from '../database/schema.ts'
import type { TaskView } from '../orchestration/orchestration.ts'
import type { Subject, SubjectKind } from './conversation.ts'
import { type SubjectSources, subjectKey } from './subject-sight.ts'

export interface SubjectView {
  readonly title: string
  /** Where the API has it; null for what is not kept any more. */
  readonly link: string | null
}

export class Subjects {
  private readonly sources: SubjectSources

  constructor(sources: SubjectSources) {
    this.sources = sources
  }

  /** By `subjectKey`, each of them, also what is gone. */
  async of(subjects: readonly Subject[], kysely: Kysely<Database>): Promise<ReadonlyMap<string, SubjectView>> {
    const ids = (kind: SubjectKind) => subjects.flatMap((subject) => (subject.kind === kind ? [subject.id] : []))
    const [taskIds, alertIds] = [ids('task'), ids('alert')]
    const tasks = taskIds.length === 0 ? [] : await this.sources.tasks.some(taskIds, kysely)
    const alerts = alertIds.length === 0 ? [] : await this.sources.alerts.some(alertIds, kysely)
    const siteIds = new Set([...ids('site').map(Number), ...alerts.map(({ siteId }) => siteId)])
    const sites = siteIds.size === 0 ? [] : await this.sources.sites.some([...siteIds], kysely)
    const siteNames = new Map(sites.map(({ id, name }) => [id, name]))
    const found = new Map<string, SubjectView>()
    const show = (subject: Subject, title: string) => {
      found.set(subjectKey(subject), { title, link: `/api/v1/${subject.kind}s/${subject.id}` })
    }
    for (const { id, name } of sites) show({ kind: 'site', id: String(id) }, name)
    for (const task of tasks) show({ kind: 'task', id: task.taskId }, taskTitle(task))
    for (const alert of alerts) {
      show({ kind: 'alert', id: alert.id }, alertTitle(alert, siteNames.get(alert.siteId) ?? `site ${alert.siteId}`))
    }
    for (const subject of subjects) {
      const key = subjectKey(subject)
      if (!found.has(key)) found.set(key, { title: `${subject.kind} ${subject.id}`, link: null })
    }
    return found
  }
}

function alertTitle({ ruleName, serialNumber }: AlertView, siteName: string): string {
  return `${ruleName}: ${serialNumber} at ${siteName}`
}

/** The command and how far it has come. */
export function taskTitle(task: Pick<TaskView, 'commandType' | 'state' | 'tally' | 'deviceCount'>): string {
  return `${task.commandType}: ${taskProgress(task)}`
}

function taskProgress({ state, tally, deviceCount }: Pick<TaskView, 'state' | 'tally' | 'deviceCount'>): string {
  const open = tally.QUEUED + tally.SENT + tally.DELIVERED
  const of = `${deviceCount} ${deviceCount === 1 ? 'device' : 'devices'}`
  const done = `${deviceCount - open} of ${of} done`
  const succeeded = `${tally.SUCCEEDED} of ${of} succeeded`
  switch (state) {
    case 'SCHEDULED':
      return `scheduled for ${of}`
    case 'REQUESTED':
      return `about to begin at ${of}`
    case 'RUNNING':
      return done
    case 'CANCELLING':
      return `being cancelled, ${done}`
    case 'ABORTING':
      return `stopping after failures, ${done}`
    case 'COMPLETED':
      return `ended, ${succeeded}`
    case 'CANCELLED':
      return `cancelled, ${succeeded}`
    case 'ABORTED':
      return `stopped after failures, ${succeeded}`
  }
}
