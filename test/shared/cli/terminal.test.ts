import { describe, expect, it } from 'vitest'
import { formatBytes, formatCount, formatDuration } from '../../../shared/cli/format.ts'
import { writeTable } from '../../../shared/cli/table.ts'
import { describeError, paintWith, type Terminal } from '../../../shared/cli/terminal.ts'
import { BusbarError } from '../../../shared/errors.ts'

function memoryTerminal(isInteractive: boolean): Terminal & { readonly written: () => string } {
  let text = ''
  const out = (more: string) => {
    text += more
  }
  return { out, err: out, isInteractive, paint: paintWith(isInteractive), written: () => text }
}

describe('what a command writes', () => {
  it('is a table with a heading in a terminal, and tabs in a pipe', () => {
    const heading = ['NAME', 'N']
    const rows = [
      ['a', '10'],
      ['longer', '2'],
    ]
    const person = memoryTerminal(true)
    writeTable(person, heading, rows)
    expect(person.written()).toBe('\u001b[2mNAME    N\u001b[0m\na       10\nlonger  2\n')
    const pipe = memoryTerminal(false)
    writeTable(pipe, heading, rows)
    expect(pipe.written()).toBe('a\t10\nlonger\t2\n')
  })

  it('has an error with its code and next step, and a stack for a fault only', () => {
    const plain = paintWith(false)
    const error = new BusbarError('the disk is full', { code: 'DISK_FULL', hint: 'Free some space.' })
    expect(describeError(error, plain)).toBe('error DISK_FULL: the disk is full\nnext: Free some space.\n')
    expect(describeError(new Error('boom'), plain)).toMatch(/^fault: Error: boom\n\s+at /)
  })

  it('says quantities as people do', () => {
    expect([0, 1023, 1536, 8 * 2 ** 30].map(formatBytes)).toEqual(['0 B', '1023 B', '1.5 KiB', '8.0 GiB'])
    expect(formatCount(1234567)).toBe('1,234,567')
    expect([450, 2_500, 125_000, 7_500_000, 100 * 3_600_000].map(formatDuration)).toEqual([
      '450 ms',
      '2.5 s',
      '2 min 5 s',
      '2 h 5 min',
      '4 d 4 h',
    ])
  })
})
