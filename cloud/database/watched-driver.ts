/** A driver in front of a dialect's own: it translates every failure once, and tells how each statement went. */

import type { CompiledQuery, DatabaseConnection, Driver, QueryResult, TransactionSettings } from 'kysely'

export interface StatementWatch {
  succeeded(): void
  /** The error to throw in place of `error`. */
  failed(error: unknown): unknown
}

export class WatchedDriver implements Driver {
  private readonly inner: Driver
  private readonly watch: StatementWatch

  constructor(inner: Driver, watch: StatementWatch) {
    this.inner = inner
    this.watch = watch
  }

  init(): Promise<void> {
    return this.watched(() => this.inner.init())
  }

  async acquireConnection(): Promise<DatabaseConnection> {
    const connection = await this.watched(() => this.inner.acquireConnection())
    return new WatchedConnection(connection, this.watch)
  }

  beginTransaction(connection: DatabaseConnection, settings: TransactionSettings): Promise<void> {
    return this.watched(() => this.inner.beginTransaction(innerOf(connection), settings))
  }

  commitTransaction(connection: DatabaseConnection): Promise<void> {
    return this.watched(() => this.inner.commitTransaction(innerOf(connection)))
  }

  rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    return this.watched(() => this.inner.rollbackTransaction(innerOf(connection)))
  }

  releaseConnection(connection: DatabaseConnection): Promise<void> {
    return this.inner.releaseConnection(innerOf(connection))
  }

  destroy(): Promise<void> {
    return this.inner.destroy()
  }

  private async watched<T>(operation: () => Promise<T>): Promise<T> {
    try {
      return await operation()
    } catch (error) {
      throw this.watch.failed(error)
    }
  }
}

class WatchedConnection implements DatabaseConnection {
  readonly inner: DatabaseConnection
  private readonly watch: StatementWatch

  constructor(inner: DatabaseConnection, watch: StatementWatch) {
    this.inner = inner
    this.watch = watch
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    try {
      const result = await this.inner.executeQuery<R>(query)
      this.watch.succeeded()
      return result
    } catch (error) {
      throw this.watch.failed(error)
    }
  }

  streamQuery<R>(query: CompiledQuery, chunkSize: number): AsyncIterableIterator<QueryResult<R>> {
    return this.inner.streamQuery<R>(query, chunkSize)
  }
}

function innerOf(connection: DatabaseConnection): DatabaseConnection {
  return connection instanceof WatchedConnection ? connection.inner : connection
}
