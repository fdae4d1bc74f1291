import { expect, test } from 'vitest'
import { ChatMarks } from '../../../cloud/cli/chat-marks.ts'

const A = 'conv-a'

function event(position: number, revision = position, conversationId = A) {
  return { conversationId, position, revision }
}

test('what comes twice is known, and the mark follows what came without a gap', () => {
  const marks = new ChatMarks()
  marks.begin(A, 5)
  expect(marks.take(event(5))).toEqual({ isNews: false, isFirst: false })
  expect(marks.take(event(6))).toEqual({ isNews: true, isFirst: true })
  expect(marks.take(event(6))).toEqual({ isNews: false, isFirst: false })
  expect(marks.take(event(3, 7))).toEqual({ isNews: true, isFirst: false })
  expect(marks.of()).toEqual({ [A]: 7 })
})

test('a mark stays before a gap until all has come, so that a connection lost meanwhile loses nothing', () => {
  const marks = new ChatMarks()
  marks.begin(A, 5)
  // By place: message 7 in its last form, then 8; what is between comes later.
  marks.take(event(7, 10))
  marks.take(event(8))
  expect(marks.of()).toEqual({ [A]: 5 })
  expect(marks.take(event(7, 10)).isNews).toBe(false)
  // The form that was superseded: what it says is known.
  expect(marks.take(event(7)).isNews).toBe(false)
  marks.take(event(6))
  expect(marks.of()).toEqual({ [A]: 8 })
  marks.settle(A)
  expect(marks.of()).toEqual({ [A]: 10 })
  expect(marks.take(event(9)).isNews).toBe(false)
})

test('a conversation that was not known begins where it is met, and one that was left is asked about no more', () => {
  const marks = new ChatMarks()
  expect(marks.take(event(40, 41, 'conv-b'))).toEqual({ isNews: true, isFirst: false })
  expect(marks.take(event(42, 42, 'conv-b'))).toEqual({ isNews: true, isFirst: true })
  marks.begin(A, 5)
  marks.begin(A, 99)
  expect(marks.of()).toEqual({ 'conv-b': 42, [A]: 5 })
  expect(marks.of([A, 'conv-x'])).toEqual({ [A]: 5 })
  marks.keepOnly(new Set([A]))
  expect(marks.of()).toEqual({ [A]: 5 })
})

test('a gap that nothing fills is not kept for ever', () => {
  const marks = new ChatMarks()
  marks.begin(A, 0)
  for (let position = 3; position < 2_000; position++) marks.take(event(position))
  expect(marks.of()).toEqual({ [A]: 1_999 })
})
