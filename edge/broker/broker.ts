/**
 * The MQTT 3.1.1 broker of a site: devices publish, tools on site watch, and what devices say is acknowledged once it is in
 * the spool. This file joins its parts:
 *
 *     listeners ─▶ connection (frame guard) ─┬▶ intake ─▶ spool          telemetry that nobody on site watches
 *                                            └▶ engine (Aedes) ─▶ intake ─▶ spool, then observers
 */

import type { AddressInfo } from 'node:net'
import type { Clock, Timer } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import { nextTurn } from '../../shared/waiting.ts'
import { Admission } from './admission.ts'
import { type BrokerStats, brokerStats } from './broker-stats.ts'
import type { CommandOutlet } from './command-outlet.ts'
import { CommandRoutes } from './command-routes.ts'
import type { Connection } from './connection.ts'
import { Connections } from './connections.ts'
import { BrokerCounters } from './counters.ts'
import { DeviceDirectory, type DeviceState } from './device-directory.ts'
import type { Authenticator } from './device-identity.ts'
import { DevicePresence } from './device-presence.ts'
import type { DurableLog } from './durable-log.ts'
import { createEngine, type Engine } from './engine.ts'
import { connectionOf, engineHooks } from './engine-hooks.ts'
import { Gate } from './gate.ts'
import { LimitedLog } from './limited-log.ts'
import { BROKER_LIMITS, type BrokerLimits } from './limits.ts'
import { type Listener, type ListenerOptions, openListeners, refuseExposed, warnOfReach } from './listeners.ts'
import { ObservedTopics } from './observed-topics.ts'
import { DurablePersistence } from './persistence/durable-persistence.ts'
import { loadSessions, sessionsPath } from './persistence/open-sessions.ts'
import { SessionJournal } from './persistence/session-journal.ts'
import { PublishIntake, statusOfWill } from './publish-intake.ts'
import { Rights } from './rights.ts'
import { tender } from './tending.ts'
import { maySubscribe } from './topic-rules.ts'
import type { ListenerKind } from './transport.ts'

const AGING_MS = 3_600_000
/** How often it is looked whether logins or certificates changed. */
const LOOK_MS = 1000
const ENGINE_TURNS = 4

export interface BrokerOptions {
  readonly listeners: ListenerOptions
  /** Lets clients in without a login, as any device and observer; allowed on loopback addresses only. */
  readonly insecure: boolean
  readonly spool: DurableLog
  /** The file of logins; it need not exist. `authenticator`, when given, is asked instead. */
  readonly credentials: { readonly file: string }
  readonly certificates: {
    /** Of the authority of the site; it need not exist. */
    readonly authorityDir: string
    /** PEM of others who sign certificates of clients; empty for none. */
    readonly otherAuthorities: string
    /** Whether clients of the TLS listener need one. */
    readonly required: boolean
  }
  readonly authenticator?: Authenticator
  /** Where durable sessions and retained messages are kept. */
  readonly sessions: { readonly dir: string }
  /** Those not given are `BROKER_LIMITS`. */
  readonly limits?: Partial<BrokerLimits>
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** What exists between `start` and `stop`. */
interface Running {
  readonly engine: Engine
  readonly connections: Connections
  readonly persistence: DurablePersistence
  readonly journal: SessionJournal
  readonly presence: DevicePresence
  readonly listeners: readonly Listener[]
  readonly gate: Gate
  readonly timers: readonly Timer[]
}

export class Broker implements Part {
  readonly name = 'broker'
  private readonly options: BrokerOptions
  private readonly limits: BrokerLimits
  private readonly counters = new BrokerCounters()
  private readonly directory: DeviceDirectory
  private readonly routes: CommandRoutes
  private running: Running | null = null
  private starting: Promise<void> | null = null
  private stopping: Promise<void> | null = null
  private closing = false

  constructor(options: BrokerOptions) {
    this.options = options
    this.limits = { ...BROKER_LIMITS, ...options.limits }
    this.directory = new DeviceDirectory({
      log: options.spool,
      devicesMax: this.limits.devicesMax,
      clock: options.clock,
      counters: this.counters,
    })
    this.routes = new CommandRoutes(options.random)
  }

  /** The way of commands to the devices; there from construction, so that the inbox listens before the first device is here. */
  get commands(): CommandOutlet {
    return this.routes
  }

  /** @throws BusbarError INSECURE_LISTENER, LISTEN_FAILED, TLS_INVALID, SESSIONS_UNREADABLE, CREDENTIALS_UNREADABLE */
  start(): Promise<void> {
    this.starting ??= this.startOnce()
    return this.starting
  }

  /** Takes no more, acknowledges what is on its way to disk, keeps sessions and wills for the next start. */
  stop(deadline: AbortSignal): Promise<void> {
    this.stopping ??= this.stopOnce(deadline)
    return this.stopping
  }

  /** Where the listeners are, with the ports that the system chose. */
  addresses(): Partial<Record<ListenerKind, AddressInfo>> {
    return Object.fromEntries((this.running?.listeners ?? []).map(({ kind, address }) => [kind, address]))
  }

  stats(): BrokerStats {
    return brokerStats(this.counters, this.running)
  }

  /** The devices met since the start. */
  devices(): DeviceState[] {
    return this.directory.states()
  }

  private async startOnce(): Promise<void> {
    const { options, limits, counters, directory, routes } = this
    const { clock, random, log, spool } = options
    if (options.insecure) refuseExposed(options.listeners)
    warnOfReach(options.listeners, options.insecure, log)
    const { authorityDir, otherAuthorities, required: certificateRequired } = options.certificates
    const { authenticator, insecure } = options
    const rights = new Rights({
      credentialsFile: options.credentials.file,
      authorityDir,
      otherAuthorities,
      certificateRequired,
      insecure,
      authenticator,
      clock,
      log,
    })
    const warnings = new LimitedLog(clock, log)
    const gate = new Gate({ limits, clock, counters, warnings })
    const observed = new ObservedTopics()
    const { dir } = options.sessions
    const stored = loadSessions(dir, log)
    const sessions = stored.sessions.map((each) => ({ ...each, owner: rights.ownerToday(each.owner) }))
    const image = { ...stored, sessions }
    const { sessionChangesMax: changesMax } = limits
    const unavailable = image.failing
    const journal = new SessionJournal({ path: sessionsPath(dir), changesMax, unavailable, clock, random, log })
    const persistence = new DurablePersistence({
      journal,
      random,
      image,
      observed,
      queueMax: limits.sessionQueueMax,
      retainedMax: limits.retainedMax,
      sessionsMax: limits.sessionsMax,
      admits: (client, filter) => {
        const { identity } = connectionOf(client as never)
        return identity !== null && maySubscribe(identity, filter)
      },
      proofOf: (client) => connectionOf(client as never).proof ?? undefined,
      dropped: (reason) => {
        counters.dropped[reason]++
      },
    })
    // Wills that the engine kept come first: they say more.
    const graceMs = 1.25 * limits.willGraceMs
    const presence = new DevicePresence({ journal, directory, graceMs, clock })
    const admission = new Admission({
      authenticator: rights.authenticator,
      sessions: persistence.register,
      gate,
      connectionsPerLoginMax: limits.connectionsPerLoginMax,
      log,
    })
    const answered = routes.answered.bind(routes)
    const intake = new PublishIntake({ log: spool, observed, directory, answered, limits, counters })
    const engine = createEngine({
      id: randomHex(random, 8),
      persistence,
      observed,
      limits,
      hooks: engineHooks({
        admission,
        mayWill: (will) => rights.mayWill(will),
        intake,
        directory,
        presence,
        persistence,
        commands: routes,
        limits,
        counters,
        log,
      }),
    })
    routes.attach({
      publish: (topic, payload) => engine.publish(topic, payload),
      sessionOf: (clientId) => persistence.register.nameOf(clientId),
    })
    const connections = new Connections({
      limits,
      clock,
      log: spool,
      counters,
      warnings,
      intake,
      attachEngine: (stream) => engine.attach(stream),
      accepted: (connection) => routes.accepted(connection),
      departed: (connection) => this.departed(connection, admission, presence),
    })
    await engine.listen()
    connections.start()
    presence.start(image.present)
    const { clientAuthorities } = rights
    const listeners = await openListeners(options.listeners, { gate, limits, clock, clientAuthorities }, (transport) =>
      connections.accept(transport),
    )
    const age = (): void => {
      const expired = persistence.register.age(AGING_MS, limits.sessionExpiryDays * DAY_MS)
      if (expired > 0) log.info({ expired }, 'MQTT sessions that never returned were removed')
    }
    const tending = { rights, gate, connections, persistence, listeners, clock, log }
    const tend = tender(tending, options.listeners.certificate)
    const timers = [clock.every(AGING_MS, age), clock.every(LOOK_MS, tend)]
    this.running = { engine, connections, persistence, journal, presence, listeners, gate, timers }
    log.info(
      { listeners: listeners.map(({ kind, address }) => `${kind} ${address.address}:${address.port}`) },
      'MQTT listens',
    )
  }

  private async stopOnce(deadline: AbortSignal): Promise<void> {
    await this.starting?.catch(() => undefined)
    if (this.running === null) return
    const { engine, connections, persistence, presence, listeners, timers } = this.running
    this.closing = true
    for (const listener of listeners) listener.close()
    for (const timer of timers) timer.cancel()
    presence.stop()
    // Their answers would not be read any more.
    this.routes.close()
    await connections.settle(deadline)
    // The engine queues for absent sessions in the turns after it acknowledged.
    for (let turn = 0; turn < ENGINE_TURNS; turn++) await nextTurn()
    // The gateway leaves, not its devices: their wills stay stored, and are published if they do not come back.
    connections.keepWills()
    await engine.close()
    await connections.closed(deadline)
    await persistence.destroy()
  }

  /** A connection is over: who it spoke for may be offline now. */
  private departed(connection: Connection, admission: Admission, presence: DevicePresence): void {
    this.routes.departed(connection)
    const { identity, request, engineClient, refusal } = connection
    if (identity === null || engineClient === null) return
    admission.release(engineClient.id)
    for (const device of connection.devices) {
      device.connections--
      device.lastSeenMs = Math.max(device.lastSeenMs, connection.lastSeenMs)
      // A local client may speak for many devices and says nothing of them by leaving.
      if (this.closing || identity.role !== 'device' || device.connections > 0) continue
      if (connection.saidDisconnect) {
        this.directory.happened(device, { kind: 'disconnected' })
      } else {
        const reason = refusal === 'keepalive-timeout' ? 'keepalive timeout' : 'connection lost'
        this.directory.happened(device, { kind: 'lost', reason, will: statusOfWill(request?.will ?? null, device) })
      }
      presence.departed(device)
    }
  }
}
