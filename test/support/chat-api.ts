/** Conversations over REST for tests: the real services behind a real listener, and callers who are named by their credential. */

import { join } from 'node:path'
import { Value } from '@sinclair/typebox/value'
import { onTestFinished } from 'vitest'
import type { Api } from '../../cloud/api/api.ts'
import { ProblemSchema } from '../../cloud/api/http/problem.ts'
import { chatRoutes } from '../../cloud/api/routes/chat.ts'
import { Conversations, MemberDirectory, Presence, Receipts } from '../../cloud/chat/chat.ts'
import { openDatabase } from '../../cloud/database/database.ts'
import {
  type Authentication,
  callerOf,
  type Grant,
  IdentityError,
  LOCAL_AUTHENTICATION,
  People,
} from '../../cloud/identity/identity.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { type ApiCore, startApiCore } from './api-core.ts'
import { CHAT_SETTINGS, type ChatCore, chatCore } from './chat-core.ts'
import type { JsonAnswer } from './json-request.ts'
import { tempDir } from './temp-dir.ts'

export interface ChatApi {
  readonly chat: ChatCore
  readonly core: ApiCore
  readonly presence: Presence
  /** Below /api/v1, as whom it names. Throws for an answer that the document does not foretell. */
  ask(
    who: string | null,
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    path: string,
    body?: object,
    headers?: Readonly<Record<string, string>>,
  ): Promise<JsonAnswer>
  /** A user with these roles, in place of those that there were; an API key when the name is of one. */
  grant(userId: string, ...grants: readonly Grant[]): Promise<void>
}

export interface ChatApiOptions {
  readonly settings?: Partial<typeof CHAT_SETTINGS>
  /** Default false. */
  readonly nobodyLogsIn?: boolean
}

const KEY = 'api-key:'
/** A credential has no colons. */
const KEY_CREDENTIAL = 'key-'
const SCOPES = new Set(['chat:read', 'chat:write'])

/** On a SQLite file of its own; stopped when the test ends. */
export async function startChatApi({ settings = {}, nobodyLogsIn = false }: ChatApiOptions = {}): Promise<ChatApi> {
  const common = { clock: systemClock, random: systemRandom, log: silentLogger }
  const url = `sqlite:${join(await tempDir(), 'busbar.db')}`
  const database = openDatabase({ url, ...common })
  await database.start()
  onTestFinished(() => database.stop())
  const chat = chatCore(database, { settings })
  const people = nobodyLogsIn ? new MemberDirectory({ database }) : new People({ database, ...common })
  const all = { ...CHAT_SETTINGS, awayAfterMs: 300_000, offlineAfterMs: 15_000, ...settings }
  const services = { ...chat, ...common, people, coreId: 'core', settings: all }
  const conversations = new Conversations({ ...services, messages: chat.store })
  const receipts = new Receipts(services)
  const presence = new Presence(services)
  onTestFinished(async () => {
    for (const part of [receipts, presence]) await part.stop(AbortSignal.timeout(2_000))
  })
  const grants = new Map<string, readonly Grant[]>()
  const core = await startApiCore(
    {
      routes: chatRoutes({ ...services, conversations, messages: chat.messages, receipts, presence }),
      ...(nobodyLogsIn ? { authentication: LOCAL_AUTHENTICATION, insecure: true } : { authentication: byName(grants) }),
    },
    url,
  )
  return {
    chat,
    core,
    presence,
    async ask(who, method, path, body, headers = {}) {
      const response = await fetch(`${core.url}/api/v1${path}`, {
        method,
        headers: {
          ...(who === null ? {} : { authorization: `Bearer ${who.replace(KEY, KEY_CREDENTIAL)}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const text = await response.text()
      const answer = { status: response.status, headers: response.headers, body: text === '' ? null : JSON.parse(text) }
      requireForetold(core.api, method, `/api/v1${path}`, answer)
      return answer
    },
    async grant(userId, ...given) {
      if (!grants.has(userId) && !userId.startsWith(KEY)) await chat.addUser(userId, [])
      grants.set(userId, given)
      await database.kysely.deleteFrom('user_grants').where('user_id', '=', userId).execute()
      for (const { role, siteId } of userId.startsWith(KEY) ? [] : given) {
        const row = { user_id: userId, role, site_id: siteId === 'all' ? 0 : siteId }
        await database.kysely.insertInto('user_grants').values(row).execute()
      }
    },
  }
}

/** Knows those who were given something. */
function byName(grants: ReadonlyMap<string, readonly Grant[]>): Authentication {
  return {
    async authenticate(credential) {
      const id = credential?.replace(KEY_CREDENTIAL, KEY) ?? ''
      const given = grants.get(id)
      if (given === undefined) throw new IdentityError('UNAUTHENTICATED', 'Nobody is logged in.')
      const kind = id.startsWith(KEY) ? 'api-key' : 'user'
      return callerOf({ kind, id, credentialId: id, scopes: kind === 'api-key' ? SCOPES : null }, given)
    },
    recheck: async () => new Map(),
  }
}

function requireForetold({ routes }: Api, method: string, path: string, { status, body }: JsonAnswer): void {
  const [bare = ''] = path.split('?')
  const route = routes.find((each) => {
    return each.method === method && new RegExp(`^${each.path.replaceAll(/:[A-Za-z]+/g, '[^/]+')}$`).test(bare)
  })
  const declared = status >= 400 ? { schema: ProblemSchema } : route?.responses[status]
  if (declared === undefined) throw new Error(`${method} ${path} answers ${status}, which is not declared`)
  const { schema } = declared
  const wrong = schema === undefined ? [] : [...Value.Errors(schema, body)].map(({ path: at, message }) => at + message)
  if (wrong.length > 0) throw new Error(`${method} ${path} answers otherwise than declared: ${wrong.join(', ')}`)
}
