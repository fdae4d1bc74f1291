/** The wire format that registries agree on: a byte 0, the id of the schema in four bytes, big endian, then the Avro value. */

export const HEADER_BYTES = 5

/** True when a value is meant as Avro: no JSON text begins with the byte 0. */
export function isFramed(value: string | Uint8Array): value is Uint8Array {
  return typeof value !== 'string' && value.length >= HEADER_BYTES && value[0] === 0
}

/** @param value framed. */
export function schemaIdOf(value: Buffer): number {
  return value.readUInt32BE(1)
}

export function writeHeader(target: Buffer, schemaId: number): void {
  target[0] = 0
  target.writeUInt32BE(schemaId, 1)
}
