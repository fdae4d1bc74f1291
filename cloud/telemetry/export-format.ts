/** Lines of an export: CSV in the long form (RFC 4180), a value a line, or NDJSON, a reading a line. */

import { csvCell, csvLine } from '../../shared/csv.ts'
import { decodeRollups } from './rollup.ts'
import { stepPoint } from './series.ts'
import type { ResolutionName } from './series-plan.ts'
import type { QueriedDevice, ReadingRow, RollupRow } from './series-store.ts'

export const EXPORT_FORMATS = ['csv', 'ndjson'] as const
export type ExportFormat = (typeof EXPORT_FORMATS)[number]

/** Makes lines of rows. */
export interface ExportWriter {
  /** Before everything else; empty where there is none. */
  readonly head: string
  readings(device: QueriedDevice, rows: readonly ReadingRow[]): string
  rollups(device: QueriedDevice, rows: readonly RollupRow[]): string
}

/** @param fields those that are wanted; null for all. */
export function exportWriter(
  format: ExportFormat,
  resolution: ResolutionName,
  fields: readonly string[] | null,
): ExportWriter {
  const wanted = fields === null ? null : new Set(fields)
  return format === 'csv' ? csvWriter(resolution, wanted) : ndjsonWriter(resolution, wanted)
}

type Wanted = ReadonlySet<string> | null

const SUBJECT_COLUMNS = ['time', 'siteId', 'deviceId', 'serialNumber', 'field']

function csvWriter(resolution: ResolutionName, wanted: Wanted): ExportWriter {
  const values = resolution === 'raw' ? ['value'] : ['count', 'min', 'max', 'mean', 'last']
  return {
    head: csvLine([...SUBJECT_COLUMNS, ...values]),
    readings: (device, rows) => {
      let text = ''
      for (const row of rows) {
        const begin = csvSubject(device, row.at_ms)
        for (const [name, value] of Object.entries(JSON.parse(row.fields) as Record<string, unknown>)) {
          if (wanted === null || wanted.has(name)) text += `${begin},${csvCell(name)},${csvCell(value)}\r\n`
        }
      }
      return text
    },
    rollups: (device, rows) => {
      let text = ''
      for (const row of rows) {
        const begin = csvSubject(device, row.bucket_ms)
        for (const [name, rollup] of decodeRollups(row.fields)) {
          if (wanted !== null && !wanted.has(name)) continue
          const { count, min, max, mean, last } = stepPoint(row.bucket_ms, rollup)
          text += `${begin},${csvCell(name)},${count},${min},${max},${mean},${last}\r\n`
        }
      }
      return text
    },
  }
}

function csvSubject({ siteId, deviceId, serialNumber }: QueriedDevice, atMs: number): string {
  return `${new Date(atMs).toISOString()},${siteId},${deviceId},${csvCell(serialNumber)}`
}

function ndjsonWriter(resolution: ResolutionName, wanted: Wanted): ExportWriter {
  return {
    head: '',
    readings: (device, rows) => {
      let text = ''
      for (const row of rows) {
        const values = wanted === null ? onOneLine(row.fields) : chosenMembers(row.fields, wanted)
        if (values !== null) text += `${ndjsonSubject(device, row.at_ms)},"values":${values}}\n`
      }
      return text
    },
    rollups: (device, rows) => {
      let text = ''
      for (const row of rows) {
        const members: string[] = []
        for (const [name, rollup] of decodeRollups(row.fields)) {
          if (wanted !== null && !wanted.has(name)) continue
          const { count, min, max, mean, last } = stepPoint(row.bucket_ms, rollup)
          members.push(`${JSON.stringify(name)}:${JSON.stringify({ count, min, max, mean, last })}`)
        }
        if (members.length === 0) continue
        const about = `"resolution":"${resolution}","records":${row.records}`
        text += `${ndjsonSubject(device, row.bucket_ms)},${about},"fields":{${members.join(',')}}}\n`
      }
      return text
    },
  }
}

/** Open, so that the rest can follow. */
function ndjsonSubject({ siteId, deviceId, serialNumber }: QueriedDevice, atMs: number): string {
  const time = new Date(atMs).toISOString()
  return `{"time":"${time}","siteId":${siteId},"deviceId":${deviceId},"serialNumber":${JSON.stringify(serialNumber)}`
}

/** JSON text has line breaks between its tokens only. */
function onOneLine(json: string): string {
  return json.replaceAll(/[\r\n]+/g, ' ')
}

/** Null when none of the members is wanted. */
function chosenMembers(json: string, wanted: ReadonlySet<string>): string | null {
  const members: string[] = []
  for (const [name, value] of Object.entries(JSON.parse(json) as Record<string, unknown>)) {
    if (wanted.has(name)) members.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`)
  }
  return members.length === 0 ? null : `{${members.join(',')}}`
}
