import { describe, expect, test } from 'vitest'
import { readCommandFact, readResponse } from '../../../cloud/ingest/command-report.ts'
import { isRejection } from '../../../cloud/ingest/json-object.ts'
import { encodeCommandFact } from '../../../shared/command-fact.ts'

const ID = '681dce4358cba50614cee672'

function accepted(text: string) {
  const response = readResponse(Buffer.from(text))
  if (isRejection(response)) throw new Error(response.message)
  return response
}

describe('the answer of a device', () => {
  test.each([
    ['SUCCESS', 'SUCCEEDED'],
    ['FAILED', 'FAILED'],
    ['REJECTED', 'REJECTED'],
  ])('%s is %s', (status, state) => {
    expect(accepted(JSON.stringify({ commandId: ID, status }))).toEqual({
      commandId: ID,
      state,
      payload: null,
      reason: null,
    })
  })

  test.each([
    ['{"dlmsResultCode":0,"energyWh":12345678901234567890.10}'],
    ['{ "nested" : {"payload":1, "text":"}\\"{"} }'],
    ['"text"'],
    ['-1.50e3'],
    ['[1,{"a":2}]'],
  ])('keeps its payload digit for digit: %s', (payload) => {
    const before = accepted(`{"payload":${payload},"commandId":"${ID}","status":"SUCCESS"}`)
    const after = accepted(` { "commandId" : "${ID}" , "status" : "SUCCESS" , "payload" : ${payload} } `)
    expect([before.payload, after.payload]).toEqual([payload, payload])
  })

  test('has no payload when it is null, and the last one when it is doubled', () => {
    expect(accepted(`{"commandId":"${ID}","status":"FAILED","payload":null}`).payload).toBeNull()
    expect(accepted(`{"payload":1,"commandId":"${ID}","status":"FAILED","payload":2}`).payload).toBe('2')
  })

  test('counts without its payload when that is deeper than others can read', () => {
    const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)
    const answer = (levels: number) => accepted(`{"commandId":"${ID}","status":"SUCCESS","payload":${nested(levels)}}`)
    expect(answer(64)).toMatchObject({ payload: nested(64), reason: null })
    // Such a payload parses, and is too deep to be written again.
    for (const levels of [65, 100_000]) {
      expect(answer(levels)).toMatchObject({ state: 'SUCCEEDED', payload: null, reason: expect.stringContaining('64') })
    }
  })

  test.each([
    ['NOT_JSON', 'OK', 'not JSON'],
    ['NOT_AN_OBJECT', '[{"commandId":"x"}]', 'send one object'],
    ['NOT_AN_OBJECT', '"OK"', 'not an object'],
    ['BAD_COMMAND_ID', '{"status":"SUCCESS"}', '"commandId" must be the id that the command came with, and is missing'],
    ['BAD_COMMAND_ID', '{"commandId":7,"status":"SUCCESS"}', 'is 7'],
    ['BAD_COMMAND_ID', '{"commandId":"a\\u0000b","status":"SUCCESS"}', 'answer with that id'],
    ['BAD_COMMAND_ID', `{"commandId":"${'x'.repeat(65)}","status":"SUCCESS"}`, 'xxx…'],
    ['BAD_RESPONSE_STATUS', `{"commandId":"${ID}"}`, '"status" must be SUCCESS, FAILED, REJECTED, and is missing'],
    ['BAD_RESPONSE_STATUS', `{"commandId":"${ID}","status":"DONE"}`, 'is "DONE"'],
  ])('that is none is refused as %s: %s', (code, text, message) => {
    expect(readResponse(Buffer.from(text))).toEqual({ code, message: expect.stringContaining(message) })
  })
})

describe('the fact of a gateway', () => {
  test('is what the gateway encoded', () => {
    const fact = { commandId: ID, state: 'TIMED_OUT', reason: 'no answer within 60 s' } as const
    expect(readCommandFact(Buffer.from(encodeCommandFact(fact)))).toEqual({ ...fact, payload: null })
    const short = { commandId: ID, state: 'DELIVERED' } as const
    expect(readCommandFact(Buffer.from(encodeCommandFact(short)))).toEqual({ ...short, payload: null, reason: null })
  })

  test('has a reason that every database stores', () => {
    const fact = { commandId: ID, state: 'EXPIRED', reason: `a\0${'b'.repeat(9_000)}` } as const
    expect(readCommandFact(Buffer.from(encodeCommandFact(fact)))).toMatchObject({
      reason: expect.stringMatching(/^ab{499}$/) as string,
    })
    // The cut goes through a surrogate pair.
    const cut = readCommandFact(Buffer.from(encodeCommandFact({ ...fact, reason: `a${'😀'.repeat(300)}` })))
    expect((cut as { reason: string }).reason.isWellFormed()).toBe(true)
  })

  test('of a newer gateway is refused with the remedy', () => {
    expect(readCommandFact(Buffer.from(`{"commandId":"${ID}","state":"PAUSED"}`))).toEqual({
      code: 'BAD_COMMAND_STATE',
      message: expect.stringMatching(/"state" must be DELIVERED.* and is "PAUSED".*update the cloud/),
    })
  })
})
