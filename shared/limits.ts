/** Limits that both sides must agree on. Limits of one side live in its config.ts. */

/** Largest payload of one record, bytes; a larger MQTT frame is refused by the edge. */
export const RECORD_BYTES_MAX = 256 * 1024

/** Largest decoded body of a block, bytes: one record of any size always fits. */
export const BLOCK_BODY_BYTES_MAX = 1024 * 1024

/** Largest gRPC message either side accepts, bytes: an incompressible block and its fields fit. */
export const GRPC_MESSAGE_BYTES_MAX = 2 * 1024 * 1024

/** Commands, or ids of commands, in one message of the uplink; a longer list takes several. */
export const COMMANDS_PER_MESSAGE_MAX = 500

/** Ids of commands, ours and those that devices answer with: what fits a key, a log line and every database. */
export const COMMAND_ID_PATTERN = /^[A-Za-z0-9._-]{1,64}$/
