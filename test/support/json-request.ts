/** Requests whose answers are JSON. */

/** JSON of whatever shape the test expects. */
export type AnyJson = ReturnType<typeof JSON.parse>

export interface JsonAnswer {
  readonly status: number
  readonly headers: Headers
  readonly body: AnyJson
}

export async function getJson(url: string, headers: Record<string, string> = {}): Promise<JsonAnswer> {
  return await answerOf(await fetch(url, { headers }))
}

/** `body` is sent as it is when it is text, otherwise as JSON. */
export async function sendJson(
  url: string,
  method: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<JsonAnswer> {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return await answerOf(
    await fetch(url, { method, body: text, headers: { 'content-type': 'application/json', ...headers } }),
  )
}

async function answerOf(response: Response): Promise<JsonAnswer> {
  return { status: response.status, headers: response.headers, body: await response.json() }
}
