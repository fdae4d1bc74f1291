/**
 * What has been seen of each conversation: so that after a lost connection everything else can be asked for, and what comes
 * twice is known. Pure.
 *
 * Changes of a conversation are numbered without a gap, but not each number comes: who catches up gets each message in its
 * last form alone. So the mark of a conversation goes only as far as everything before has come, until all that was asked for
 * is there.
 */

/** Changes seen beyond a gap: one behind so many later ones was filled in another form, or never will be. */
const BEYOND_MAX = 1_000

interface Seen {
  /** Everything up to this revision has come. */
  mark: number
  /** Revisions that came beyond it. */
  readonly beyond: Set<number>
}

export class ChatMarks {
  private readonly conversations = new Map<string, Seen>()

  /** Everything up to `revision` is taken for seen, of a conversation that is not known yet. */
  begin(conversationId: string, revision: number): void {
    if (!this.conversations.has(conversationId))
      this.conversations.set(conversationId, { mark: revision, beyond: new Set() })
  }

  /** Conversations that the caller is in no more are asked about no more. */
  keepOnly(conversationIds: ReadonlySet<string>): void {
    for (const id of this.conversations.keys()) if (!conversationIds.has(id)) this.conversations.delete(id)
  }

  forget(conversationId: string): void {
    this.conversations.delete(conversationId)
  }

  /** Of one that is not known, where it began is where it is met first. */
  take(change: { readonly conversationId: string; readonly position: number; readonly revision: number }): {
    /** It was not seen before. */
    readonly isNews: boolean
    /** Nor was an earlier form of the same message. */
    readonly isFirst: boolean
  } {
    const { conversationId, position, revision } = change
    this.begin(conversationId, revision - 1)
    const seen = this.conversations.get(conversationId) as Seen
    const known = (number: number): boolean => number <= seen.mark || seen.beyond.has(number)
    if (known(revision)) return { isNews: false, isFirst: false }
    const isFirst = !known(position)
    seen.beyond.add(revision)
    // A later form says all that the first one would: that comes no more.
    if (isFirst) seen.beyond.add(position)
    if (seen.beyond.size > BEYOND_MAX) seen.mark = Math.min(...seen.beyond) - 1
    advance(seen)
    return { isNews: true, isFirst }
  }

  /** Everything there is up to what came has come. */
  settle(conversationId: string): void {
    const seen = this.conversations.get(conversationId)
    if (seen === undefined) return
    seen.mark = Math.max(seen.mark, ...seen.beyond)
    seen.beyond.clear()
  }

  /** From where to ask, of each conversation or of those that are named. */
  of(conversationIds: Iterable<string> = this.conversations.keys()): Record<string, number> {
    const marks: Record<string, number> = {}
    for (const id of conversationIds) {
      const seen = this.conversations.get(id)
      if (seen !== undefined) marks[id] = seen.mark
    }
    return marks
  }
}

function advance(seen: Seen): void {
  while (seen.beyond.delete(seen.mark + 1)) seen.mark++
}
