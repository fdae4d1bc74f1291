/**
 * What went down each uplink session and is not receipted yet: a gateway gets no more than a window of commands, so that
 * neither its inbox nor the memory of its stream is flooded. Pure bookkeeping of this core.
 */

export interface CommandWindowsOptions {
  /** Commands of one gateway. */
  readonly commandsMax: number
  /** Bytes of their parameters; one command goes out however large it is. */
  readonly bytesMax: number
  /** One that is not receipted for longer holds its place no more; it is handed over again then. */
  readonly patienceMs: number
}

interface Window {
  readonly sessionId: string
  readonly sent: Map<string, { readonly bytes: number; readonly atMs: number }>
  bytes: number
  /** Nothing goes out before; monotonic. */
  pausedUntilMs: number
}

export class CommandWindows {
  private readonly options: CommandWindowsOptions
  private readonly windows = new Map<string, Window>()

  constructor(options: CommandWindowsOptions) {
    this.options = options
  }

  /**
   * Keeps these sessions and forgets the others, and whatever was not receipted in time.
   * @param nowMs monotonic
   */
  follow(sessions: readonly { readonly gatewayId: string; readonly sessionId: string }[], nowMs: number): void {
    const kept = new Map(sessions.map(({ gatewayId, sessionId }) => [gatewayId, sessionId]))
    for (const [gatewayId, window] of this.windows) {
      if (kept.get(gatewayId) !== window.sessionId) this.windows.delete(gatewayId)
    }
    for (const window of this.windows.values()) {
      // In the order of sending, so the first one in time ends the search.
      if (window.pausedUntilMs <= nowMs) window.pausedUntilMs = 0
      for (const [commandId, { atMs }] of window.sent) {
        if (nowMs - atMs < this.options.patienceMs) break
        this.forget(window, commandId)
      }
    }
  }

  /** How many more commands the gateway may get. */
  space(gatewayId: string): number {
    const window = this.windows.get(gatewayId)
    if (window === undefined) return this.options.commandsMax
    if (window.pausedUntilMs > 0) return 0
    return window.bytes >= this.options.bytesMax ? 0 : Math.max(0, this.options.commandsMax - window.sent.size)
  }

  /** Bytes that it may get, beside the one command that always may. */
  byteSpace(gatewayId: string): number {
    return Math.max(0, this.options.bytesMax - (this.windows.get(gatewayId)?.bytes ?? 0))
  }

  sent(gatewayId: string, sessionId: string, commandId: string, bytes: number, nowMs: number): void {
    const window = this.windowOf(gatewayId, sessionId)
    this.forget(window, commandId)
    window.sent.set(commandId, { bytes, atMs: nowMs })
    window.bytes += bytes
  }

  /** The session gets nothing until then, unless it is forgotten before. */
  pause(gatewayId: string, sessionId: string, untilMs: number): void {
    this.windowOf(gatewayId, sessionId).pausedUntilMs = untilMs
  }

  receipted(gatewayId: string, commandIds: readonly string[]): void {
    const window = this.windows.get(gatewayId)
    if (window === undefined) return
    for (const commandId of commandIds) this.forget(window, commandId)
  }

  private windowOf(gatewayId: string, sessionId: string): Window {
    const known = this.windows.get(gatewayId)
    if (known?.sessionId === sessionId) return known
    const window = { sessionId, sent: new Map(), bytes: 0, pausedUntilMs: 0 }
    this.windows.set(gatewayId, window)
    return window
  }

  private forget(window: Window, commandId: string): void {
    window.bytes -= window.sent.get(commandId)?.bytes ?? 0
    window.sent.delete(commandId)
  }
}
