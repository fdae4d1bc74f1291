/** A consumer group within the process: its members share the partitions of each topic, and its offsets outlive them. */

import type { Owner, PartitionReader } from './partition-reader.ts'

export interface Member extends Owner {
  readonly topics: readonly string[]
}

export class ConsumerGroup {
  private readonly members: Member[] = []
  private readonly readers = new Map<string, PartitionReader[]>()
  private readonly openReaders: (topic: string) => PartitionReader[]

  /** @param openReaders makes the readers of a topic, one a partition, at the group's offsets; the group starts them. */
  constructor(openReaders: (topic: string) => PartitionReader[]) {
    this.openReaders = openReaders
  }

  join(member: Member): void {
    this.members.push(member)
    for (const topic of member.topics) {
      if (this.readers.has(topic)) continue
      const readers = this.openReaders(topic)
      this.readers.set(topic, readers)
      for (const reader of readers) reader.start()
    }
    this.share()
  }

  /** Resolves when the member's batches in hand are finished. */
  async leave(member: Member): Promise<void> {
    const index = this.members.indexOf(member)
    if (index < 0) return
    this.members.splice(index, 1)
    this.share()
    const readers = member.topics.flatMap((topic) => this.readers.get(topic) ?? [])
    await Promise.all(readers.map((reader) => reader.released(member)))
  }

  /** Resolves when every batch in hand is finished. */
  async stop(): Promise<void> {
    this.members.length = 0
    await Promise.all([...this.readers.values()].flat().map((reader) => reader.stop()))
    this.readers.clear()
  }

  /** Deals the partitions of each topic to the members that follow it, in turn. */
  private share(): void {
    for (const [topic, readers] of this.readers) {
      const followers = this.members.filter(({ topics }) => topics.includes(topic))
      readers.forEach((reader, partition) => {
        reader.setOwner(followers[partition % followers.length] ?? null)
      })
    }
  }
}

/** Under which name the offset of a group in a partition is known. */
export function offsetId(group: string, topic: string, partition: number): string {
  return `${group}\n${topic}\n${partition}`
}
