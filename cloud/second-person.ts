/** Composition of what comes of a request once a second person has approved it. */

import { type Approval, ApprovalConflictError, Approvals } from './approvals/approvals.ts'
import type { CommandService, NewCommand } from './commands/commands.ts'
import type { CloudConfig } from './config.ts'
import type { CoreTools } from './core.ts'
import type { DatabaseHandle } from './database/database.ts'
import type { NewTask, Tasks } from './orchestration/orchestration.ts'
import { EVERYWHERE, type SiteAccess } from './registry/site-scope.ts'

export interface ApprovedServices {
  readonly commands: Pick<CommandService, 'create'>
  readonly tasks: Pick<Tasks, 'create' | 'retry'>
  readonly database: DatabaseHandle
  readonly coreId: string
  /** The person who answers for a caller. */
  readonly personBehind: (callerId: string) => Promise<string>
  /** Whether that person may still give commands at these sites. */
  readonly mayCommand: (userId: string, siteIds: readonly number[]) => Promise<boolean>
}

export function createApprovals(config: CloudConfig, services: ApprovedServices, tools: CoreTools): Approvals {
  const { commands, tasks, ...others } = services
  return new Approvals({
    ...others,
    ...tools,
    settings: { ...config.approvals, keptDays: config.commands.keptDays },
    actions: {
      async command(approval, join) {
        const request = approval.request as NewCommand
        await commands.create(request, (command, transaction) => join(command.id, transaction), approvedFor(approval))
      },
      async task(approval, join) {
        const request = approval.request as NewTask
        await tasks.create(request, (task, transaction) => join(task.taskId, transaction), approvedFor(approval))
      },
      async 'task-retry'(approval, join) {
        const { taskId } = approval.request as { readonly taskId: string }
        const retried = await tasks.retry(
          taskId,
          (task, transaction) => join(task.taskId, transaction),
          approvedFor(approval),
        )
        if (retried === null) throw taskGone(taskId)
      },
    },
  })
}

/** What was approved is for these sites: devices that have appeared at others meanwhile are not meant. */
function approvedFor({ siteIds }: Approval): SiteAccess {
  if (siteIds.length === 0) return EVERYWHERE
  const sites = new Set(siteIds)
  return { sees: sites, acts: sites }
}

function taskGone(taskId: string): ApprovalConflictError {
  return new ApprovalConflictError(`the task ${taskId} is not kept any more`, {
    code: 'TASK_GONE',
    hint: 'Ask for a new task.',
  })
}
