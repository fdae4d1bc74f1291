/** Messages of conversations: sent, edited, deleted, and read again. */

import type { Part } from '../../shared/lifecycle.ts'
import type { Page } from '../registry/page.ts'
import type {
  Also,
  HistoryRequest,
  LastRevision,
  MessageStats,
  MessagesOptions,
  MessageTrace,
  SearchRequest,
  SentMessage,
  ShownMessage,
  Since,
  SinceRequest,
} from './message-options.ts'
import type { MessageText, NewMessage } from './new-message.ts'

export class Messages implements Part {
  readonly name = 'chat messages'
  private readonly options: MessagesOptions

  constructor(options: MessagesOptions) {
    this.options = options
  }

  async start(): Promise<void> {}

  async stop(_deadline: AbortSignal): Promise<void> {}

  send(_senderId: string, _message: NewMessage, _also?: Also<SentMessage>): Promise<SentMessage> {
    throw new Error(`${this.options.coreId}: not yet`)
  }

  edit(
    _userId: string,
    _conversationId: string,
    _messageId: string,
    _text: MessageText,
    _also?: Also<ShownMessage>,
  ): Promise<ShownMessage> {
    throw new Error('not yet')
  }

  remove(
    _userId: string,
    _conversationId: string,
    _messageId: string,
    _also?: Also<ShownMessage>,
  ): Promise<ShownMessage> {
    throw new Error('not yet')
  }

  get(_userId: string, _conversationId: string, _messageId: string): Promise<ShownMessage> {
    throw new Error('not yet')
  }

  history(_userId: string, _conversationId: string, _request?: HistoryRequest): Promise<Page<ShownMessage>> {
    throw new Error('not yet')
  }

  since(_userId: string, _conversationId: string, _afterRevision: number, _request?: SinceRequest): Promise<Since> {
    throw new Error('not yet')
  }

  search(_userId: string, _request: SearchRequest): Promise<Page<ShownMessage>> {
    throw new Error('not yet')
  }

  revisions(_userId: string, _conversationId: string, _messageId: string): Promise<readonly MessageTrace[]> {
    throw new Error('not yet')
  }

  marksOf(_userId: string): Promise<ReadonlyMap<string, number>> {
    throw new Error('not yet')
  }

  lastRevisions(_userIds: readonly string[], _sinceMs: number): Promise<readonly LastRevision[]> {
    throw new Error('not yet')
  }

  stats(): MessageStats {
    throw new Error('not yet')
  }
}
