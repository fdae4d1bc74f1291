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
    hint: 'It can be read. To go on with it reopen it, in a group as its owner: PATCH with {"archived": false}.',
  })
}

export function messageNotYours(id: string): ChatError {
  return new ChatError('FORBIDDEN', `The message ${id} is another one's.`, {
    code: 'MESSAGE_NOT_YOURS',
    hint: 'Who wrote it edits it; who wrote it or owns the conversation deletes it. What was noted of the conversation stays.',
  })
}

export function messageDeleted(id: string): ChatError {
  return new ChatError('CONFLICT', `The message ${id} is deleted.`, {
    code: 'MESSAGE_DELETED',
    hint: 'Send a new one.',
  })
}

export function traceForAuditors(id: string): ChatError {
  return new ChatError(
    'FORBIDDEN',
    `What the message ${id} said before it was deleted is for auditors of every site.`,
    {
      code: 'MESSAGE_TRACE_AUDITORS',
      hint: 'An administrator can give the role: busbar-cloud user grant.',
    },
  )
}

export function messageIdReused(clientMessageId: string): ChatError {
  return new ChatError('CONFLICT', `The clientMessageId ${clientMessageId} is the name of another message of yours.`, {
    code: 'MESSAGE_ID_REUSED',
    hint: 'Use a new one for each message, such as a UUID; the same only to send the same again.',
  })
}

export function rateLimited(retryAfterMs: number): ChatError {
  return new ChatError('TOO_MANY_REQUESTS', `Too many messages: wait ${retryAfterMs} ms.`, {
    code: 'RATE_LIMITED',
    hint: 'Send it again after that, with the same clientMessageId; chat.messagesPerMinute says how many there may be.',
    retryAfterMs,
  })
}

export function tooManyChanges(retryAfterMs: number): ChatError {
  return new ChatError('TOO_MANY_REQUESTS', `Too many changes of conversations: wait ${retryAfterMs} ms.`, {
    code: 'RATE_LIMITED',
    hint: 'Ask again after that; chat.messagesPerMinute says how many there may be.',
    retryAfterMs,
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
