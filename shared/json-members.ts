/** Where the members of a JSON object stand in its text, so that it can be changed without writing its values anew. */

export interface JsonMember {
  readonly name: string
  /** Positions in the text: of its name, of its value, and behind it. */
  readonly from: number
  readonly valueFrom: number
  readonly to: number
}

/** The own members of a valid JSON object, doubled ones included, in the order of the text. Without recursion. */
export function membersOf(text: string): JsonMember[] {
  const members: JsonMember[] = []
  let at = skipSpace(text, 0) + 1
  for (;;) {
    const from = skipSpace(text, at)
    if (text[from] === '}') break
    const nameTo = skipString(text, from)
    const valueFrom = skipSpace(text, skipSpace(text, nameTo) + 1)
    const to = skipValue(text, valueFrom)
    members.push({ name: JSON.parse(text.slice(from, nameTo)) as string, from, valueFrom, to })
    at = skipSpace(text, to)
    if (text[at] === '}') break
    at++
  }
  return members
}

function skipSpace(text: string, from: number): number {
  let at = from
  while (text.charCodeAt(at) <= 0x20) at++
  return at
}

/** @param from position of the opening quote. */
function skipString(text: string, from: number): number {
  let at = from + 1
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1
  return at + 1
}

function skipValue(text: string, from: number): number {
  let at = from
  let depth = 0
  for (;;) {
    const char = text[at]
    if (char === '"') at = skipString(text, at)
    else if (char === '{' || char === '[') {
      depth++
      at++
    } else if (depth > 0 && (char === '}' || char === ']')) {
      depth--
      at++
    } else if (depth === 0 && (char === ',' || char === '}' || char === undefined || char <= ' ')) return at
    else at++
    if (depth === 0 && (char === '"' || char === '}' || char === ']')) return at
  }
}
