import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { exportWriter } from '../../../cloud/telemetry/export-format.ts'
import { encodeRollups, rollupOf } from '../../../cloud/telemetry/rollup.ts'
import { csvCell } from '../../../shared/csv.ts'

const DEVICE = { deviceId: 7, siteId: 3, serialNumber: '-7', gatewayId: null }
const AT_MS = Date.UTC(2026, 0, 31, 12)

/** A reader of RFC 4180 and nothing more. */
function readCsv(text: string): string[][] {
  const rows: string[][] = [[]]
  const cells = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/gy
  for (const [, quoted, plain, separator] of text.matchAll(cells)) {
    rows.at(-1)?.push(quoted === undefined ? (plain as string) : quoted.replaceAll('""', '"'))
    if (separator === '\r\n') rows.push([])
  }
  return rows.slice(0, -1)
}

describe('a CSV cell', () => {
  it('comes back from a reader as it was, and is no formula to a spreadsheet', () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom('=', '+', '-', '@', '\t', '\r', '\n', '"', ',', 'a', '＝', "'") }),
    )
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), (texts) => {
        const [cells = []] = readCsv(`${texts.map(csvCell).join(',')}\r\n`)
        expect(cells.map((cell, i) => (cell === `'${texts[i]}` ? texts[i] : cell))).toEqual(texts)
        for (const cell of cells) expect(cell).not.toMatch(/^[=+\-@\t\r＝＋－＠]/)
      }),
    )
  })

  it('leaves numbers as they are, however small', () => {
    expect([-5, 0.1, 1e-7, -1e21].map(csvCell)).toEqual(['-5', '0.1', '1e-7', '-1e+21'])
    expect(['-5', '+1', '=1+1', true, null, { a: 1 }, [1, 'x']].map(csvCell)).toEqual([
      "'-5",
      "'+1",
      "'=1+1",
      'true',
      '',
      '"{""a"":1}"',
      '"[1,""x""]"',
    ])
  })
})

describe('an export', () => {
  const reading = (fields: string) => ({ device_id: 7, at_ms: AT_MS, seq: 1, fields })

  it('as CSV has a line for each value', () => {
    const writer = exportWriter('csv', 'raw', null)
    expect(
      readCsv(writer.head + writer.readings(DEVICE, [reading('{"powerKw":-4.5,"mode":"a\\nb","=x":null}')])),
    ).toEqual([
      ['time', 'siteId', 'deviceId', 'serialNumber', 'field', 'value'],
      ['2026-01-31T12:00:00.000Z', '3', '7', "'-7", 'powerKw', '-4.5'],
      ['2026-01-31T12:00:00.000Z', '3', '7', "'-7", 'mode', 'a\nb'],
      ['2026-01-31T12:00:00.000Z', '3', '7', "'-7", "'=x", ''],
    ])
  })

  it('as NDJSON has a line for each reading, with the fields asked for, whatever white space a device wrote', () => {
    const rows = [reading('{"powerKw":1,\r\n "mode":"a\\nb"}'), reading('{"other":1}')]
    const lines = (fields: string[] | null) =>
      exportWriter('ndjson', 'raw', fields)
        .readings(DEVICE, rows)
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
    const about = { time: '2026-01-31T12:00:00.000Z', siteId: 3, deviceId: 7, serialNumber: '-7' }
    expect(lines(null)).toEqual([
      { ...about, values: { powerKw: 1, mode: 'a\nb' } },
      { ...about, values: { other: 1 } },
    ])
    expect(lines(['powerKw', '__proto__'])).toEqual([{ ...about, values: { powerKw: 1 } }])
  })

  it('of roll-ups has their count, least, greatest, mean and last', () => {
    const fields = encodeRollups(new Map([['powerKw', { ...rollupOf(1, AT_MS, 1), count: 4, sum: 10, max: 5 }]]))
    const rows = [{ device_id: 7, bucket_ms: AT_MS, records: 6, fields }]
    const csv = exportWriter('csv', '1h', null)
    expect(readCsv(csv.head + csv.rollups(DEVICE, rows))).toEqual([
      ['time', 'siteId', 'deviceId', 'serialNumber', 'field', 'count', 'min', 'max', 'mean', 'last'],
      ['2026-01-31T12:00:00.000Z', '3', '7', "'-7", 'powerKw', '4', '1', '5', '2.5', '1'],
    ])
    expect(JSON.parse(exportWriter('ndjson', '1h', null).rollups(DEVICE, rows))).toMatchObject({
      resolution: '1h',
      records: 6,
      fields: { powerKw: { count: 4, min: 1, max: 5, mean: 2.5, last: 1 } },
    })
    expect(exportWriter('ndjson', '1h', ['voltage']).rollups(DEVICE, rows)).toBe('')
  })
})
