/** Bytes that may be in use at one time; who needs more than is left waits its turn, first come, first served. */

export class ByteBudget {
  private readonly bytesMax: number
  private used = 0
  private readonly queue: {
    readonly bytes: number
    readonly admit: () => void
  }[] = []

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  get usedBytes(): number {
    return this.used
  }

  /** True when `bytes` were taken at once. More than the whole budget is admitted alone. */
  tryTake(bytes: number): boolean {
    if (this.queue.length > 0 || !this.fits(bytes)) return false
    this.used += bytes
    return true
  }

  /** Resolves when `bytes` are taken; the caller must give them back. */
  take(bytes: number): Promise<void> {
    if (this.tryTake(bytes)) return Promise.resolve()
    return new Promise((resolve) => this.queue.push({ bytes, admit: resolve }))
  }

  give(bytes: number): void {
    this.used -= bytes
    for (let next = this.queue[0]; next !== undefined && this.fits(next.bytes); next = this.queue[0]) {
      this.queue.shift()
      this.used += next.bytes
      next.admit()
    }
  }

  private fits(bytes: number): boolean {
    return this.used === 0 || this.used + bytes <= this.bytesMax
  }
}
