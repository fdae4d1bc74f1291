/** Marks of what has come to sockets, gathered within one turn of the event loop: a thousand pongs are handed on as one. */

import { nextTurn } from '../../../../shared/waiting.ts'
import type { Mark, Receipts } from '../../../chat/chat.ts'

export class DeliveredMarks {
  private readonly receipts: Pick<Receipts, 'delivered'>
  private marks = new Map<string, Mark>()
  private handing: Promise<void> | null = null

  constructor(receipts: Pick<Receipts, 'delivered'>) {
    this.receipts = receipts
  }

  add(marks: readonly Mark[]): void {
    for (const mark of marks) {
      const key = `${mark.conversationId}/${mark.userId}`
      const known = this.marks.get(key)
      if (known === undefined || known.position < mark.position) this.marks.set(key, mark)
    }
    this.handing ??= nextTurn().then(() => {
      this.handing = null
      void this.flush()
    })
  }

  /** Resolves when what has gathered is stored, or waits where it is stored. Never rejects. */
  async flush(): Promise<void> {
    if (this.marks.size === 0) return
    const marks = [...this.marks.values()]
    this.marks = new Map()
    await this.receipts.delivered(marks)
  }
}
