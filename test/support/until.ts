/** Waiting for something to become true, instead of sleeping for a guess. */

/** Polls until `condition` holds; its value is returned. Throws after `timeoutMs`, naming `what`. */
export async function until<T>(
  condition: () => T | Promise<T>,
  options: { timeoutMs?: number; what?: string; pollMs?: number } = {},
): Promise<NonNullable<T>> {
  const { timeoutMs = 20_000, what = condition.toString(), pollMs = 10 } = options
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const value = await condition()
    if (value) return value as NonNullable<T>
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, pollMs))
  }
}
