/** What a row costs in the database file, so that limits count what is on the disk and not what is in the blobs. */

/** SQLite's page size for the spool; also a common unit of flash translation layers. */
export const PAGE_BYTES = 4096

/** Header and the small columns of a row, and its place in the page, bytes; measured. */
const ROW_OVERHEAD_BYTES = 52

/**
 * Bytes that a row with `dataBytes` of blob takes, whole overflow pages included.
 * Formula: SQLite file format, "B-tree Cell Format", table leaf cells.
 */
export function rowBytes(dataBytes: number): number {
  const payload = dataBytes + ROW_OVERHEAD_BYTES
  const localMax = PAGE_BYTES - 35
  if (payload <= localMax) return payload
  const localMin = Math.floor(((PAGE_BYTES - 12) * 32) / 255) - 23
  const overflowPage = PAGE_BYTES - 4
  const wanted = localMin + ((payload - localMin) % overflowPage)
  const local = wanted <= localMax ? wanted : localMin
  return local + Math.ceil((payload - local) / overflowPage) * PAGE_BYTES
}
