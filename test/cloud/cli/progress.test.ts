import { expect, test } from 'vitest'
import {
  type Progress,
  ProgressMeter,
  progressLine,
  progressLines,
  type TaskBody,
} from '../../../cloud/cli/progress.ts'
import { ProgressScreen } from '../../../cloud/cli/progress-screen.ts'
import { paintWith } from '../../../shared/cli/terminal.ts'

const TALLY = {
  QUEUED: 0,
  SENT: 0,
  DELIVERED: 0,
  SUCCEEDED: 0,
  FAILED: 0,
  REJECTED: 0,
  TIMED_OUT: 0,
  EXPIRED: 0,
  CANCELLED: 0,
}

function taskWith(tally: Partial<TaskBody['tally']>, state: TaskBody['state'] = 'RUNNING'): TaskBody {
  const whole = { ...TALLY, ...tally }
  const device_count = Object.values(whole).reduce((sum, count) => sum + count, 0)
  return { taskId: '689dce4358cba50614cee678', command_type: 'SET_TOU', state, device_count, tally: whole } as TaskBody
}

const RUNNING = taskWith({ SUCCEEDED: 5_000, FAILED: 500, TIMED_OUT: 500, DELIVERED: 500, SENT: 500, QUEUED: 3_000 })
const plain = paintWith(false)

function progressOf(task: TaskBody): Progress {
  return { task, done: 6_000, perSecond: 812.4, leftMs: 4_924, elapsedMs: 7_400 }
}

test('rate and what is left follow from the last ten seconds', () => {
  const meter = new ProgressMeter()
  const at = (second: number, done: number) =>
    meter.look(taskWith({ SUCCEEDED: done, QUEUED: 1_000 - done }), second * 1_000)
  expect(at(100, 0)).toMatchObject({ done: 0, perSecond: null, leftMs: null, elapsedMs: 0 })
  expect(at(101, 100)).toMatchObject({ done: 100, perSecond: 100, leftMs: 9_000, elapsedMs: 1_000 })
  expect(at(105, 500)).toMatchObject({ perSecond: 100, leftMs: 5_000 })
  // It has stood still for longer than the window.
  expect(at(120, 500)).toMatchObject({ perSecond: null, leftMs: null })
  expect(at(122, 1_000)).toMatchObject({ done: 1_000, leftMs: 0, elapsedMs: 22_000 })
})

test('a task that was opened again has no rate from before', () => {
  const meter = new ProgressMeter()
  meter.look(taskWith({ SUCCEEDED: 90, FAILED: 10 }), 0)
  expect(meter.look(taskWith({ SUCCEEDED: 90, QUEUED: 10 }), 2_000)).toMatchObject({ done: 90, perSecond: null })
  expect(meter.look(taskWith({ SUCCEEDED: 95, QUEUED: 5 }), 4_000)).toMatchObject({ perSecond: 2.5, leftMs: 2_000 })
})

test('a terminal sees a bar whose parts are the outcomes, and every count', () => {
  const [title, bar, counts, tally] = progressLines(progressOf(RUNNING), plain, 100)
  expect(title).toBe('SET_TOU 689dce4358cba50614cee678  RUNNING')
  expect(bar).toBe(`${'█'.repeat(30)}${'▒'.repeat(5)}${'·'.repeat(15)}  60 %`)
  expect(counts).toBe('6,000 of 10,000 devices, 812/s, 4.9 s left')
  expect(tally).toBe('5,000 succeeded, 500 failed, 500 timed out, 500 delivered, 500 sent, 3,000 queued')
  expect(progressLines(progressOf(taskWith({ SUCCEEDED: 3 })), plain, 100)[1]).toContain('█'.repeat(50))
})

test('no line is wider than a narrow terminal', () => {
  for (const columns of [24, 40, 80]) {
    for (const line of progressLines(progressOf(RUNNING), plain, columns)) {
      expect(line.length, `${columns}: ${line}`).toBeLessThanOrEqual(columns)
    }
  }
})

test('a pipe sees plain lines, one every two seconds and one for each change of state', () => {
  expect(progressLine(progressOf(RUNNING))).toBe(
    '7.4 s  RUNNING  6000 of 10000, 812/s, 4.9 s left  succeeded 5000  failed 500  timed out 500  delivered 500  sent 500  queued 3000',
  )
  const { screen, out, err } = screenOn(false)
  for (const elapsedMs of [0, 400, 800, 1_900, 2_100, 3_000]) screen.show({ ...progressOf(RUNNING), elapsedMs })
  screen.show({ ...progressOf(taskWith({ SUCCEEDED: 10 }, 'COMPLETED')), elapsedMs: 3_100 })
  expect(out().match(/RUNNING/g)).toHaveLength(2)
  expect(out().match(/COMPLETED/g)).toHaveLength(1)
  expect(out()).not.toContain('\u001b')
  expect(err()).toBe('')
})

test('a terminal is drawn over in place', () => {
  const { screen, out } = screenOn(true)
  for (let i = 0; i < 3; i++) screen.show(progressOf(RUNNING))
  expect(out().split('\u001b[4A')).toHaveLength(3)
})

test('beside JSON the lines go to standard error', () => {
  const { screen, out, err } = screenOn(true, true)
  screen.show(progressOf(RUNNING))
  expect({ out: out(), lines: err().split('\n').length }).toEqual({ out: '', lines: 2 })
})

function screenOn(isInteractive: boolean, quiet = false) {
  const written = { out: [] as string[], err: [] as string[] }
  const terminal = {
    out: (text: string) => void written.out.push(text),
    err: (text: string) => void written.err.push(text),
    isInteractive,
    columns: 100,
    paint: plain,
  }
  return {
    screen: new ProgressScreen(terminal, quiet),
    out: () => written.out.join(''),
    err: () => written.err.join(''),
  }
}
