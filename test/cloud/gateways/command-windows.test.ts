import { expect, test } from 'vitest'
import { CommandWindows } from '../../../cloud/gateways/command-windows.ts'

const S1 = { gatewayId: 'g1', sessionId: 's1' }
const windows = () => new CommandWindows({ commandsMax: 3, bytesMax: 100, patienceMs: 1_000 })

test('a gateway gets a window of commands; receipts make room, those of unknown commands none', () => {
  const w = windows()
  expect(w.space('g1')).toBe(3)
  for (const id of ['a', 'b', 'b', 'c']) w.sent('g1', 's1', id, 1, 0)
  expect(w.space('g1')).toBe(0)
  expect(w.space('g2')).toBe(3)
  w.receipted('g1', ['a', 'a', 'nobody'])
  w.receipted('nobody', ['a'])
  expect(w.space('g1')).toBe(1)
})

test('bytes are a limit too, and come back with the receipts', () => {
  const w = windows()
  w.sent('g1', 's1', 'a', 60, 0)
  expect([w.space('g1'), w.byteSpace('g1')]).toEqual([2, 40])
  w.sent('g1', 's1', 'b', 60, 0)
  expect([w.space('g1'), w.byteSpace('g1')]).toEqual([0, 0])
  w.receipted('g1', ['a'])
  expect([w.space('g1'), w.byteSpace('g1')]).toEqual([2, 40])
})

test('a new session begins with an empty window, one that is gone is forgotten', () => {
  const w = windows()
  w.sent('g1', 's1', 'a', 1, 0)
  w.sent('g1', 's2', 'b', 1, 0)
  expect(w.space('g1')).toBe(2)
  w.follow([S1], 0)
  expect(w.space('g1')).toBe(3)
})

test('what is not receipted in time holds its place no more', () => {
  const w = windows()
  w.sent('g1', 's1', 'a', 1, 0)
  w.sent('g1', 's1', 'b', 1, 500)
  w.follow([S1], 999)
  expect(w.space('g1')).toBe(1)
  w.follow([S1], 1_000)
  expect(w.space('g1')).toBe(2)
})

test('a gateway that takes nothing gets nothing for a while', () => {
  const w = windows()
  w.pause('g1', 's1', 500)
  w.follow([S1], 499)
  expect(w.space('g1')).toBe(0)
  w.follow([S1], 500)
  expect(w.space('g1')).toBe(3)
})
