/**
 * Client of a schema registry that speaks the REST API of Confluent's, such as Confluent Schema Registry, Karapace and
 * Apicurio (under /apis/ccompat/v7). Every failure is retryable: a registry that is away comes back, and one that refuses
 * is mended by its operator, while the records wait.
 */

import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '../../../shared/clock.ts'
import { BusbarError, messageOf } from '../../../shared/errors.ts'
import { VERSION } from '../../../shared/version.ts'

export interface SchemaRegistrySettings {
  /** Base of its API, such as http://registry:8081. */
  readonly url: string
  /** Login by name and password. */
  readonly username?: string
  readonly password?: string
  /** Login by token, sent as `Bearer`. */
  readonly token?: string
  /** PEM. Without a `ca` the system's authorities are trusted. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string }
  /** How long it may take for one request. */
  readonly timeoutMs: number
  /** False when its operator registers the schemas. */
  readonly autoRegister: boolean
}

/** A schema as the registry has it. */
export interface RegisteredSchema {
  /** AVRO, JSON or PROTOBUF. */
  readonly type: string
  readonly text: string
  /** Whether it names types of other schemas. */
  readonly hasReferences: boolean
}

/** A larger answer is none of a schema. */
const ANSWER_BYTES_MAX = 1024 * 1024
const MEDIA_TYPE = 'application/vnd.schemaregistry.v1+json'
/** Error codes of the API, which tell a schema that is not there from an address that is wrong. */
const SUBJECT_UNKNOWN = 40401
const SCHEMA_UNKNOWN = 40403

interface Answer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

export class SchemaRegistry {
  private readonly settings: SchemaRegistrySettings
  private readonly clock: Clock
  private readonly base: string
  private readonly failures: Record<string, number> = {}
  private requests = 0
  private lastFailure: string | null = null

  constructor(settings: SchemaRegistrySettings, clock: Clock) {
    this.settings = settings
    this.clock = clock
    this.base = settings.url.replace(/\/+$/, '')
  }

  /** What went wrong last, and the next step; null since it answered as it should. */
  get failure(): string | null {
    return this.lastFailure
  }

  stats(): { readonly requests: number; readonly failures: Readonly<Record<string, number>> } {
    return { requests: this.requests, failures: { ...this.failures } }
  }

  /**
   * The id of a schema under a subject, which registers it unless its operator does that.
   * @throws BusbarError SCHEMA_REGISTRY_AWAY or SCHEMA_REGISTRY_REFUSED, both retryable
   */
  async idOf(subject: string, schemaText: string): Promise<number> {
    const path = `/subjects/${encodeURIComponent(subject)}`
    const { autoRegister } = this.settings
    const answer = await this.ask('POST', autoRegister ? `${path}/versions` : path, { schema: schemaText })
    if (isOk(answer)) return this.idIn(answer)
    if (autoRegister || answer.status !== 404) throw this.refused(answer, `the schema of ${subject}`)
    // A registry may keep the text as it was registered, with white space of its own.
    const latest = await this.ask('GET', `${path}/versions/latest`)
    if (isOk(latest) && isSameSchema(latest.body.schema, schemaText)) return this.idIn(latest)
    if (!isOk(latest) && !isCode(latest, SUBJECT_UNKNOWN))
      throw this.refused(latest, `to tell the schema of ${subject}`)
    throw this.fail(
      'REFUSED',
      `has no schema under ${subject} that is as ours`,
      'Register the one in proto/avro there, or set kafka.schemaRegistry.autoRegister = true.',
    )
  }

  /**
   * Null when the registry has no such schema.
   * @throws BusbarError SCHEMA_REGISTRY_AWAY or SCHEMA_REGISTRY_REFUSED, both retryable
   */
  async schemaOf(id: number): Promise<RegisteredSchema | null> {
    const answer = await this.ask('GET', `/schemas/ids/${id}`)
    if (isCode(answer, SCHEMA_UNKNOWN)) {
      this.lastFailure = null
      return null
    }
    const { schema, schemaType = 'AVRO', references } = answer.body
    if (!isOk(answer) || typeof schema !== 'string') throw this.refused(answer, `to tell schema ${id}`)
    this.lastFailure = null
    return { type: String(schemaType), text: schema, hasReferences: Array.isArray(references) && references.length > 0 }
  }

  /** Resolves when it answers anything that shows that it is there, and lets us in. @throws as the others */
  async probe(): Promise<void> {
    const answer = await this.ask('GET', '/schemas/types')
    if (answer.status === 401 || answer.status === 403) throw this.refused(answer, 'to let us in')
    this.lastFailure = null
  }

  private idIn(answer: Answer): number {
    const { id } = answer.body
    if (!Number.isInteger(id)) throw this.refused(answer, 'to tell the id of a schema')
    this.lastFailure = null
    return id as number
  }

  /** @throws BusbarError SCHEMA_REGISTRY_AWAY when nobody answers, or only with an error of the server. */
  private async ask(method: string, path: string, body?: object): Promise<Answer> {
    const { tls, timeoutMs } = this.settings
    const timeout = new AbortController()
    const timer = this.clock.after(timeoutMs, () => timeout.abort())
    this.requests++
    try {
      const response = await fetch(this.base + path, {
        method,
        headers: {
          accept: `${MEDIA_TYPE}, application/json`,
          'user-agent': `busbar/${VERSION}`,
          ...this.login(),
          ...(body && { 'content-type': MEDIA_TYPE }),
        },
        ...(body && { body: JSON.stringify(body) }),
        ...(tls && { tls }),
        // It would take the login along to who knows where.
        redirect: 'manual',
        signal: timeout.signal,
      })
      const answer = { status: response.status, body: objectIn(await boundedText(response)) }
      if (answer.status >= 500 || answer.status === 429) throw this.away(`answers with HTTP ${answer.status}`)
      return answer
    } catch (error) {
      if (error instanceof BusbarError) throw error
      throw this.away(
        timeout.signal.aborted
          ? `does not answer within ${timeoutMs} ms`
          : `cannot be reached: ${networkFailure(error)}`,
      )
    } finally {
      timer.cancel()
    }
  }

  private login(): Record<string, string> {
    const { token = '', username = '', password = '' } = this.settings
    if (token !== '') return { authorization: `Bearer ${token}` }
    if (username === '') return {}
    return { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` }
  }

  private away(why: string): BusbarError {
    return this.fail('AWAY', why, 'Check that it runs, and kafka.schemaRegistry.url.')
  }

  private refused({ status, body }: Answer, what: string): BusbarError {
    const reason = typeof body.message === 'string' ? `: ${body.message.slice(0, 300)}` : ''
    return this.fail('REFUSED', `refuses ${what} (HTTP ${status}${reason})`, adviceAfter(status))
  }

  private fail(kind: 'AWAY' | 'REFUSED', why: string, hint: string): BusbarError {
    this.failures[kind] = (this.failures[kind] ?? 0) + 1
    const { host } = new URL(this.base)
    this.lastFailure = `the schema registry ${host} ${why}. ${hint}`
    return new BusbarError(`the schema registry ${host} ${why}`, {
      code: `SCHEMA_REGISTRY_${kind}`,
      retryable: true,
      hint,
    })
  }
}

function adviceAfter(status: number): string {
  if (status === 401 || status === 403) return 'Check the login in kafka.schemaRegistry and what it is allowed.'
  if (status === 409) return 'What is registered there was not made by Busbar, or by a newer one: see proto/README.md.'
  return 'Check kafka.schemaRegistry.url: it is the base of the API, such as http://registry:8081.'
}

function isOk({ status }: Answer): boolean {
  return status >= 200 && status < 300
}

function isCode({ status, body }: Answer, code: number): boolean {
  return status === 404 && body.error_code === code
}

function isSameSchema(theirs: unknown, ours: string): boolean {
  if (typeof theirs !== 'string') return false
  try {
    return isDeepStrictEqual(JSON.parse(theirs), JSON.parse(ours))
  } catch {
    return false
  }
}

function objectIn(text: string): Answer['body'] {
  try {
    const parsed: unknown = JSON.parse(text)
    return typeof parsed === 'object' && parsed !== null ? (parsed as Answer['body']) : {}
  } catch {
    return {}
  }
}

async function boundedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length
    if (bytes > ANSWER_BYTES_MAX) throw new Error(`an answer of more than ${ANSWER_BYTES_MAX} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** The runtime's code, where it has one: its message may hold the URL. */
function networkFailure(error: unknown): string {
  const { code } = error as { readonly code?: unknown }
  return typeof code === 'string' ? code : messageOf(error).replaceAll(/https?:\S+/g, 'its URL')
}
