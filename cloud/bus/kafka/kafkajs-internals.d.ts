/** The internals of kafkajs that are mended, see kafkajs-client.ts. */

declare module 'kafkajs/src/network/requestQueue/index.js' {
  const RequestQueue: {
    prototype: { pending: unknown[]; scheduleCheckPendingRequests(): void }
  }
  export default RequestQueue
}

declare module 'kafkajs/src/broker/index.js' {
  const Broker: {
    prototype: {
      fetch(
        request: unknown,
      ): Promise<{ responses: readonly { partitions: readonly import('./aborted-records.ts').FetchedPartition[] }[] }>
    }
  }
  export default Broker
}
