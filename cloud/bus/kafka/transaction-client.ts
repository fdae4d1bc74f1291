/**
 * What a transaction asks of its coordinator, each request once: where it is, a producer id, which partitions belong to the
 * transaction, and its end. The versions are understood from Kafka 2.1 to 4.x. Retrying is the caller's.
 */

import {
  addPartitionsToTxnV1,
  type Connection,
  endTxnV1,
  FindCoordinatorKeyTypes,
  findCoordinatorV1,
  initProducerIdV1,
} from '@platformatic/kafka'
import type { BrokerClient, ProducerIdentity } from './broker-client.ts'

/**
 * A transaction whose producer is silent for so long is aborted by the brokers. Until then it holds back whoever reads
 * only what is committed, so it is short.
 */
const TRANSACTION_TIMEOUT_MS = 10_000
const LANE = 0
/** Of a partition that was not looked at because of another one. */
const OPERATION_NOT_ATTEMPTED = 55

export class TransactionClient {
  readonly transactionalId: string
  private readonly client: BrokerClient
  private coordinator: number | null = null
  /** Of asking who coordinates, one after the other. */
  private failures = 0

  constructor(client: BrokerClient, transactionalId: string) {
    this.client = client
    this.transactionalId = transactionalId
  }

  /** The next request asks anew which broker coordinates. */
  forgetCoordinator(): void {
    this.coordinator = null
  }

  /** A producer id whose earlier transaction, if there is one, is aborted. */
  async begin(): Promise<ProducerIdentity> {
    const connection = await this.connection()
    const { producerId, producerEpoch } = await initProducerIdV1.api.async(
      connection,
      this.transactionalId,
      TRANSACTION_TIMEOUT_MS,
    )
    return { producerId, producerEpoch }
  }

  /** What belongs to the transaction, before anything is produced there. */
  async addPartitions(
    identity: ProducerIdentity,
    topics: readonly { name: string; partitions: number[] }[],
  ): Promise<void> {
    const { transactionalId } = this
    const connection = await this.connection()
    try {
      await addPartitionsToTxnV1.api.async(connection, [
        { transactionalId, ...identity, verifyOnly: false, topics: [...topics] },
      ])
    } catch (error) {
      const { errors = [] } = error as { errors?: readonly { apiCode?: number }[] }
      throw errors.find(({ apiCode }) => apiCode !== OPERATION_NOT_ATTEMPTED) ?? error
    }
  }

  async end(identity: ProducerIdentity, isCommitted: boolean): Promise<void> {
    const { producerId, producerEpoch } = identity
    const connection = await this.connection()
    await endTxnV1.api.async(connection, this.transactionalId, producerId, producerEpoch, isCommitted)
  }

  private async connection(): Promise<Connection> {
    this.coordinator ??= await this.find()
    return this.client.connection(LANE, this.coordinator)
  }

  private async find(): Promise<number> {
    try {
      // Whoever is asked may be the one that has died.
      const connection = await this.client.connection(LANE, await this.client.anyNode(this.failures))
      const key = FindCoordinatorKeyTypes.TRANSACTION
      const { coordinators } = await findCoordinatorV1.api.async(connection, key, [this.transactionalId])
      this.failures = 0
      return coordinators[0]?.nodeId ?? -1
    } catch (error) {
      this.failures++
      throw error
    }
  }
}
