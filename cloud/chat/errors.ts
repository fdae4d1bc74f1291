/** What is refused in conversations, and why. */

import { BusbarError } from '../../shared/errors.ts'

/** As the API answers it; see http/problem.ts. */
export type ChatRefusal = 'NOT_FOUND' | 'FORBIDDEN' | 'CONFLICT' | 'INVALID_INPUT' | 'TOO_MANY_REQUESTS'

/** A value that is not allowed. */
export interface ChatInvalid {
  /** JSON pointer into the body or frame, such as `/content`. */
  readonly pointer: string
  readonly value?: unknown
  readonly remedy: string
}

export class ChatError extends BusbarError {
  readonly refusal: ChatRefusal
  /** Of INVALID_INPUT. */
  readonly fields: readonly ChatInvalid[]
  /** Of TOO_MANY_REQUESTS: when it may be tried again, milliseconds from now. */
  readonly retryAfterMs: number | undefined

  constructor(
    refusal: ChatRefusal,
    message: string,
    options: {
      readonly code: string
      readonly hint: string
      readonly fields?: readonly ChatInvalid[]
      readonly retryAfterMs?: number
    },
  ) {
    super(message, { code: options.code, hint: options.hint })
    this.refusal = refusal
    this.fields = options.fields ?? []
    this.retryAfterMs = options.retryAfterMs
  }
}

/** The same whether there is none or the caller is not in it. */
export function conversationUnknown(id: string): ChatError {
  return new ChatError('NOT_FOUND', `There is no conversation ${id} that you are in.`, {
    code: 'CONVERSATION_UNKNOWN',
    hint: 'GET /api/v1/conversations lists yours; somebody who is in it can add you.',
  })
}

export function messageUnknown(id: string): ChatError {
  return new ChatError('NOT_FOUND', `There is no message ${id} in this conversation.`, {
    code: 'MESSAGE_UNKNOWN',
    hint: 'Ask for the messages of the conversation; old ones are not kept for ever.',
  })
}

export function conversationArchived(id: string): ChatError {
  return new ChatError('CONFLICT', `The conversation ${id} is archived.`, {
    code: 'CONVERSATION_ARCHIVED',
    hint: 'It can be read. To go on with it, an owner reopens it: PATCH with {"archived": false}.',
  })
}

export function chatInvalid(fields: readonly ChatInvalid[]): ChatError {
  const named = fields.map(({ pointer, remedy }) => `${pointer}: ${remedy}`).join('; ')
  return new ChatError('INVALID_INPUT', `Not allowed: ${named}.`, {
    code: 'INVALID_INPUT',
    hint: 'Correct what is named, and send it again.',
    fields,
  })
}
