/** Who wants to be called when something happens. */

export class Hook<Details extends readonly unknown[] = []> {
  private readonly fns: ((...details: Details) => void)[] = []

  add(fn: (...details: Details) => void): void {
    this.fns.push(fn)
  }

  /** Calls everyone, in the order in which they were added. */
  call(...details: Details): void {
    for (const fn of this.fns) fn(...details)
  }
}
