import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FINAL_STATES } from '../../../cloud/gateways/gateways.ts'
import {
  encodeRequest,
  encodeResponse,
  RESPONSE_STATUS,
  readRequest,
  readResponse,
} from '../../../cloud/orchestration/task-messages.ts'

const KEY = '689dce4358cba50614cee678'
const CONTRACT = {
  command_type: 'SET_TOU',
  command_params: { tou_profile_id: 'TOU-2025-TEST' },
  device_ids: ['meter-001', 'meter-002', 'meter-003'],
  requested_by: 'userB',
}
const bytes = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))

describe('task.requested', () => {
  it('is read in the form of the contract', () => {
    expect(readRequest(KEY, bytes(CONTRACT))).toEqual({
      taskId: KEY,
      commandType: 'SET_TOU',
      commandParams: { tou_profile_id: 'TOU-2025-TEST' },
      deviceIds: ['meter-001', 'meter-002', 'meter-003'],
      requestedBy: 'userB',
      round: 1,
      siteId: undefined,
      options: {},
    })
  })

  it('leaves members alone that it does not know, and counts a device once', () => {
    const value = { ...CONTRACT, device_ids: ['a', 'b', 'a'], round: 'first', comment: 'theirs' }
    expect(readRequest(KEY, bytes(value))).toMatchObject({ deviceIds: ['a', 'b'], round: 1 })
  })

  it.each([
    [null, CONTRACT, 'KEY_INVALID'],
    ['task-1', CONTRACT, 'KEY_INVALID'],
    [KEY, '{"command_type"', 'NOT_JSON'],
    [KEY, [], 'VALUE_INVALID'],
    [KEY, { ...CONTRACT, device_ids: [] }, 'VALUE_INVALID'],
    [KEY, { ...CONTRACT, device_ids: ['a\0'] }, 'VALUE_INVALID'],
    [KEY, { ...CONTRACT, device_ids: [5] }, 'VALUE_INVALID'],
    [KEY, { ...CONTRACT, requested_by: undefined }, 'VALUE_INVALID'],
    [KEY, { ...CONTRACT, options: { retries: 3 } }, 'VALUE_INVALID'],
  ])('is unusable under the key %j as %j: %s', (key, value, unusable) => {
    expect(readRequest(key, bytes(value))).toMatchObject({ unusable })
  })

  it('is unusable when it is not UTF-8', () => {
    expect(readRequest(KEY, Buffer.from([0x22, 0xff, 0x22]))).toMatchObject({ unusable: 'NOT_JSON' })
  })

  it('is written with the members of the contract first, and reads back as it was', () => {
    const text = encodeRequest({
      commandType: 'SET_TOU',
      commandParams: '{"tou_profile_id":"TOU-2025-TEST"}',
      deviceIds: CONTRACT.device_ids,
      requestedBy: 'userB',
      options: { concurrency: 5 },
      round: 2,
      siteId: 7,
    })
    expect(Object.keys(JSON.parse(text))).toEqual([...Object.keys(CONTRACT), 'options', 'round', 'site_id'])
    expect(readRequest(KEY, bytes(text))).toMatchObject({ round: 2, siteId: 7, options: { concurrency: 5 } })
  })
})

describe('orchestrator.responses', () => {
  it('is written in the form and the order of the contract', () => {
    const text = encodeResponse({
      taskId: KEY,
      commandId: '681dce4358cba50614cee672',
      serialNumber: 'meter-001',
      outcome: 'SUCCEEDED',
      atMs: Date.UTC(2025, 4, 8, 2, 1, 10),
      payload: '{"dlmsResultCode":0,"deviceTime":"2025-05-08T02:00:59Z"}',
      reason: null,
      attempt: 1,
    })
    expect(text).toBe(
      '{"taskId":"689dce4358cba50614cee678","command_id":"681dce4358cba50614cee672","deviceId":"meter-001",' +
        '"status":"SUCCESS","receivedAt":"2025-05-08T02:01:10.000Z",' +
        '"responsePayload":{"dlmsResultCode":0,"deviceTime":"2025-05-08T02:00:59Z"},"attempt":1}',
    )
  })

  it('reads back as it was written, whatever is in it', () => {
    const text = fc.string({ minLength: 1, maxLength: 50, unit: 'grapheme' }).filter((each) => !each.includes('\0'))
    const arbitrary = fc.record({
      taskId: text,
      commandId: text,
      serialNumber: text,
      outcome: fc.constantFrom(...FINAL_STATES),
      atMs: fc.nat(2_000_000_000_000),
      payload: fc.option(fc.json()),
      reason: fc.option(fc.string()),
      attempt: fc.nat(20),
    })
    fc.assert(
      fc.property(arbitrary, (response) => {
        const { taskId, commandId, outcome, payload, reason } = response
        const encoded = encodeResponse(response)
        const shown = payload === null ? (reason === null ? {} : { reason }) : JSON.parse(payload)
        expect(JSON.parse(encoded)).toMatchObject({ status: RESPONSE_STATUS[outcome], deviceId: response.serialNumber })
        expect(readResponse(bytes(encoded))).toEqual({ taskId, commandId, outcome, payload: JSON.stringify(shown) })
      }),
    )
  })

  it.each([
    ['{', 'NOT_JSON'],
    [{ taskId: KEY, command_id: 'x', deviceId: 'y' }, 'VALUE_INVALID'],
    [{ taskId: KEY, command_id: 'x', deviceId: 'y', status: 'SUCCEEDED' }, 'VALUE_INVALID'],
    [{ taskId: KEY, deviceId: 'y', status: 'SUCCESS' }, 'VALUE_INVALID'],
    [{ taskId: 'a\0', command_id: 'x', deviceId: 'y', status: 'SUCCESS' }, 'VALUE_INVALID'],
  ])('is unusable as %j: %s', (value, unusable) => {
    expect(readResponse(bytes(value))).toMatchObject({ unusable })
  })

  it('is unusable with a payload that can be parsed, but is too deep to be written again', () => {
    const deep = '['.repeat(100_000) + ']'.repeat(100_000)
    const text = `{"taskId":"${KEY}","command_id":"x","deviceId":"y","status":"SUCCESS","responsePayload":${deep}}`
    expect(readResponse(bytes(text))).toMatchObject({
      unusable: 'VALUE_INVALID',
      message: expect.stringContaining('64'),
    })
  })
})
