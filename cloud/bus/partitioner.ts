/**
 * Which partition a record goes to: murmur2 of the key as every Kafka client does it, so that a key written by anyone's
 * producer lands in one partition.
 */

/** Keys whose hash is remembered; at the limit all are forgotten and hashed again when they come back. */
const CACHED_KEYS_MAX = 65_536

/** The 32-bit MurmurHash2 of Kafka's clients (org.apache.kafka.common.utils.Utils.murmur2), signed. */
export function murmur2(bytes: Uint8Array): number {
  const M = 0x5bd1e995
  const length = bytes.length
  let hash = 0x9747b28c ^ length
  const words = length >> 2
  for (let word = 0; word < words; word++) {
    const i = word * 4
    let k =
      (bytes[i] as number) |
      ((bytes[i + 1] as number) << 8) |
      ((bytes[i + 2] as number) << 16) |
      ((bytes[i + 3] as number) << 24)
    k = Math.imul(k, M)
    k ^= k >>> 24
    hash = Math.imul(hash, M) ^ Math.imul(k, M)
  }
  const tail = words * 4
  const rest = length - tail
  if (rest === 3) hash ^= (bytes[tail + 2] as number) << 16
  if (rest >= 2) hash ^= (bytes[tail + 1] as number) << 8
  if (rest >= 1) {
    hash ^= bytes[tail] as number
    hash = Math.imul(hash, M)
  }
  hash ^= hash >>> 13
  hash = Math.imul(hash, M)
  return hash ^ (hash >>> 15)
}

/** Chooses partitions; keeps the hashes of recent keys. */
export class Partitioner {
  private readonly hashes = new Map<string, number>()
  private nextKeyless = 0

  /** The partition of `key` among `partitions`; records without a key take turns. */
  partitionOf(key: string | null, partitions: number): number {
    if (key === null) {
      const turn = this.nextKeyless
      this.nextKeyless = (turn + 1) & 0x7fffffff
      return turn % partitions
    }
    let hash = this.hashes.get(key)
    if (hash === undefined) {
      if (this.hashes.size >= CACHED_KEYS_MAX) this.hashes.clear()
      hash = murmur2(Buffer.from(key)) & 0x7fffffff
      this.hashes.set(key, hash)
    }
    return hash % partitions
  }
}
