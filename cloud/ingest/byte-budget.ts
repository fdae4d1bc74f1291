/** Bytes that may be in use at one time; who needs more than is left waits its turn, first come, first served. */

interface Waiting {
  readonly bytes: number
  readonly admit: () => void
}

export class ByteBudget {
  private readonly bytesMax: number
  private used = 0
  /** In the order in which they came. */
  private readonly queue = new Set<Waiting>()

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  get usedBytes(): number {
    return this.used
  }

  /** True when `bytes` were taken at once. More than the whole budget is admitted alone. */
  tryTake(bytes: number): boolean {
    if (this.queue.size > 0 || !this.fits(bytes)) return false
    this.used += bytes
    return true
  }

  /** Resolves with true when `bytes` are taken, which the caller must give back; with false when `signal` aborted first. */
  take(bytes: number, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false)
    if (this.tryTake(bytes)) return Promise.resolve(true)
    return new Promise((resolve) => {
      const leave = (): void => {
        this.queue.delete(waiting)
        resolve(false)
        // It may have been the large one that held the others up.
        this.admit()
      }
      const admit = (): void => {
        signal.removeEventListener('abort', leave)
        resolve(true)
      }
      const waiting = { bytes, admit }
      this.queue.add(waiting)
      signal.addEventListener('abort', leave, { once: true })
    })
  }

  give(bytes: number): void {
    this.used -= bytes
    this.admit()
  }

  private admit(): void {
    for (const waiting of this.queue) {
      if (!this.fits(waiting.bytes)) return
      this.queue.delete(waiting)
      this.used += waiting.bytes
      waiting.admit()
    }
  }

  private fits(bytes: number): boolean {
    return this.used === 0 || this.used + bytes <= this.bytesMax
  }
}
