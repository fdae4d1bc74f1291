/** Limits that both sides must agree on. Limits of one side live in its config.ts. */

/** Largest payload of one record, bytes; a larger MQTT frame is refused by the edge. */
export const RECORD_BYTES_MAX = 256 * 1024

/** Largest decoded body of a block, bytes: one record of any size always fits. */
export const BLOCK_BODY_BYTES_MAX = 1024 * 1024

/** Largest gRPC message either side accepts, bytes: an incompressible block and its fields fit. */
export const GRPC_MESSAGE_BYTES_MAX = 2 * 1024 * 1024
