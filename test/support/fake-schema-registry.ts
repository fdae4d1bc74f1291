/** A schema registry over real HTTP within the test: what a client needs of the API, and failures as a test wants. */

import { onTestFinished } from 'vitest'

export interface FakeRegistry {
  readonly url: string
  /** `POST /subjects/a-value/versions`, in the order in which they came. */
  readonly requests: readonly string[]
  readonly headers: readonly Headers[]
  /** Registers by hand what somebody else writes with; returns its id. */
  register(subject: string, schema: string, more?: Readonly<Record<string, unknown>>): number
  /** In place of its own answer, from now on. */
  answer: ((request: Request) => Response | undefined | Promise<Response | undefined>) | null
  /** Ends at once, connections and all. */
  die(): Promise<void>
  /** Comes back under the same address, with what it had. */
  comeBack(): void
}

/** Until the test is finished; `keep` is for suites, which end it by `die`. */
export function startFakeRegistry(keep: 'test' | 'suite' = 'test'): FakeRegistry {
  const schemas: { subject: string; text: string; more: Readonly<Record<string, unknown>> }[] = []
  const requests: string[] = []
  const headers: Headers[] = []
  const register: FakeRegistry['register'] = (subject, text, more = {}) => {
    const known = schemas.findIndex((each) => each.subject === subject && each.text === text)
    return known >= 0 ? known + 1 : schemas.push({ subject, text, more })
  }
  const own = async (request: Request): Promise<Response> => {
    const { pathname } = new URL(request.url)
    const [, first, name = '', versions, version] = pathname.split('/').map(decodeURIComponent)
    if (first === 'schemas' && name === 'types') return Response.json(['AVRO'])
    if (first === 'schemas') {
      const found = schemas[Number(versions) - 1]
      if (found === undefined) return missing(40403)
      return Response.json({ schema: found.text, ...found.more })
    }
    if (first !== 'subjects') return new Response('no such page', { status: 404 })
    if (version === 'latest') {
      const at = schemas.findLastIndex(({ subject }) => subject === name)
      return at < 0 ? missing(40401) : Response.json({ id: at + 1, schema: schemas[at]?.text })
    }
    const { schema } = (await request.json()) as { schema: string }
    if (versions === 'versions') return Response.json({ id: register(name, schema) })
    const at = schemas.findIndex(({ subject, text }) => subject === name && text === schema)
    return at < 0 ? missing(40403) : Response.json({ id: at + 1 })
  }
  const take = async (request: Request): Promise<Response> => {
    requests.push(`${request.method} ${new URL(request.url).pathname}`)
    headers.push(request.headers)
    return (await fake.answer?.(request)) ?? (await own(request))
  }
  const listen = (port: number) => Bun.serve({ port, hostname: '127.0.0.1', idleTimeout: 0, fetch: take })
  let server = listen(0)
  const port = server.port as number
  const fake: FakeRegistry = {
    url: `http://127.0.0.1:${port}`,
    requests,
    headers,
    register,
    answer: null,
    die: () => server.stop(true),
    comeBack: () => {
      server = listen(port)
    },
  }
  if (keep === 'test') onTestFinished(() => fake.die())
  return fake
}

function missing(code: number): Response {
  return Response.json({ error_code: code, message: 'not found' }, { status: 404 })
}
