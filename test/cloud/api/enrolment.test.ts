import { join } from 'node:path'
import { expect, test } from 'vitest'
import { certificateRoutes } from '../../../cloud/api/routes/certificates.ts'
import { enrolmentRoutes } from '../../../cloud/api/routes/enrolment.ts'
import { openDatabase } from '../../../cloud/database/database.ts'
import { Registry } from '../../../cloud/registry/registry.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { startApiCore } from '../../support/api-core.ts'
import { newRequest, signedProof } from '../../support/certificates.ts'
import { FIXED_CALLERS } from '../../support/fixed-callers.ts'
import { trustCore } from '../../support/gateway-trust.ts'
import { getJson, sendJson } from '../../support/json-request.ts'
import { tempDir } from '../../support/temp-dir.ts'

/** An API whose callers are what their credential says; see fixed-callers.ts. */
async function start() {
  const databaseUrl = `sqlite:${join(await tempDir(), 'busbar.db')}`
  const common = { clock: systemClock, log: silentLogger }
  const database = openDatabase({ url: databaseUrl, ...common })
  await database.start()
  const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: false, ...common })
  const trust = await trustCore(database)
  const { clock } = trust
  const routes = [
    ...enrolmentRoutes({ trust }),
    ...certificateRoutes({ trust, registry, publicUrl: 'https://cloud.example', clock }),
  ]
  const { url } = await startApiCore({ routes, authentication: FIXED_CALLERS }, databaseUrl)
  const as = (caller: string) => ({ authorization: `Bearer ${caller}` })
  const gateway = `${url}/api/v1/gateways`
  return {
    trust,
    enrolment: `${url}/api/v1/enrolment`,
    get: (caller: string, path: string) => getJson(`${gateway}/${path}`, as(caller)),
    send: (caller: string, method: string, path: string, body: unknown = {}) =>
      sendJson(`${gateway}/${path}`, method, body, as(caller)),
    async remove(caller: string, path: string) {
      const { status } = await fetch(`${gateway}/${path}`, { method: 'DELETE', headers: as(caller) })
      return status
    },
  }
}

test('an engineer of the site makes a token, the gateway redeems it without a login, and its certificate is listed', async () => {
  const { trust, enrolment, get, send } = await start()
  const made = await send('engineer.1', 'POST', 'gw-1/enrolment-tokens', { siteIds: [1], expiresInHours: 2 })
  expect(made).toMatchObject({
    status: 201,
    body: { gatewayId: 'gw-1', state: 'OPEN', createdBy: 'engineer.1', url: 'https://cloud.example' },
  })
  expect(Date.parse(made.body.expiresAt) - Date.parse(made.body.createdAt)).toBe(2 * 3_600_000)
  const authority = await getJson(`${enrolment}/authority`)
  expect(authority).toMatchObject({ status: 200, body: { certificatePem: trust.authority.issuer.anchorPem } })
  const first = await newRequest()
  const redeem = (csrPem: string, token = made.body.token) => sendJson(enrolment, 'POST', { token, csrPem })
  const given = await redeem(first.csrPem)
  expect(given).toMatchObject({
    status: 201,
    body: { gatewayId: 'gw-1', ingestAddress: null, serverName: 'ingest.busbar.internal' },
  })
  expect((await redeem(first.csrPem)).body.certificatePem).toBe(given.body.certificatePem)
  expect(await redeem((await newRequest()).csrPem)).toMatchObject({
    status: 409,
    body: { code: 'ENROLMENT_TOKEN_USED' },
  })
  expect(trust.events).toMatchObject([{ kind: 'enrolment-token-reused', address: '127.0.0.1' }])
  const tokens = await get('engineer.1', 'gw-1/enrolment-tokens')
  expect(tokens.body.items).toMatchObject([{ state: 'REDEEMED', redeemedFrom: '127.0.0.1' }])
  expect(JSON.stringify(tokens.body)).not.toContain(made.body.token.split('.')[2])
  const { body } = await get('viewer.1', 'gw-1/certificates')
  expect(body.items).toMatchObject([{ gatewayId: 'gw-1', issuedFor: 'enrolment', revokedAt: null }])

  trust.clock.advance(91 * 86_400_000)
  const challenge = (await sendJson(`${enrolment}/challenges`, 'POST', {})).body.challenge
  const { csrPem, csrDer } = await newRequest()
  const proof = { certificatePem: given.body.certificatePem, csrPem, challenge }
  const recover = (key: string) =>
    sendJson(`${enrolment}/renewals`, 'POST', { ...proof, signature: signedProof(key, challenge, csrDer) })
  expect(await recover((await newRequest()).key)).toMatchObject({
    status: 403,
    body: { code: 'RENEWAL_PROOF_INVALID' },
  })
  expect(await recover(first.key)).toMatchObject({ status: 201, body: { gatewayId: 'gw-1' } })

  expect(await send('engineer.1', 'POST', `gw-1/certificates/${body.items[0].serial}/revoke`)).toMatchObject({
    status: 200,
    body: { revoked: 1 },
  })
  expect(await send('engineer.1', 'POST', 'gw-1/revoke-all', { reason: 'stolen' })).toMatchObject({
    body: { revoked: 2 },
  })
  const revoked = (await get('viewer.1', 'gw-1/certificates')).body.items
  expect(revoked).toMatchObject([
    { issuedFor: 'recovery', revokedReason: 'stolen', revokedBy: 'engineer.1' },
    { issuedFor: 'enrolment', revokedReason: 'no reason was given' },
  ])
})

test('whoever guesses is asked to wait, and a request that is none is told apart from a token that is none', async () => {
  const { enrolment } = await start()
  const token = `bbe.${'0'.repeat(16)}.${'x'.repeat(43)}.${'y'.repeat(43)}`
  expect(await sendJson(enrolment, 'POST', { token })).toMatchObject({ status: 422 })
  for (let i = 0; i < 5; i++) {
    const answer = await sendJson(enrolment, 'POST', { token, csrPem: 'x' })
    expect(answer).toMatchObject({ status: 403, body: { code: 'ENROLMENT_TOKEN_INVALID' } })
  }
  const waits = await sendJson(enrolment, 'POST', { token, csrPem: 'x' })
  expect([waits.status, waits.headers.get('retry-after')]).toEqual([429, '60'])
})

test('nobody takes a gateway of another site, gives one away, or lets one speak for a site that is not theirs', async () => {
  const { get, send, remove } = await start()
  const tokens = 'gw-1/enrolment-tokens'
  const { body } = await send('engineer.1', 'POST', tokens, { siteIds: [1] })
  const both = 'engineer.1+engineer.2'
  // At no site of its own: for those who see it not it does not exist, for those who do the role is missing.
  for (const [caller, status] of [
    ['engineer.2', 404],
    ['operator.1', 403],
    ['viewer.1+engineer.2', 403],
  ] as const) {
    expect(await send(caller, 'POST', tokens, {}), caller).toMatchObject({ status })
    expect(await get(caller, tokens), caller).toMatchObject({ status })
    expect(await send(caller, 'POST', 'gw-1/revoke-all'), caller).toMatchObject({ status })
    expect(await remove(caller, `${tokens}/${body.id}`), caller).toBe(status)
  }
  const sites = (caller: string, siteIds: number[]) => send(caller, 'PATCH', 'gw-1/sites', { siteIds })
  expect(await sites('engineer.1', [1, 2])).toMatchObject({ status: 403 })
  expect(await sites('engineer.2', [2])).toMatchObject({ status: 404 })
  expect(await send('engineer.1', 'POST', tokens, { siteIds: [2] })).toMatchObject({ status: 403 })
  expect(await send('engineer.1', 'POST', 'gw-2/enrolment-tokens', { siteIds: [2] })).toMatchObject({ status: 403 })
  expect(await send('engineer.1', 'POST', 'gw-2/enrolment-tokens', {})).toMatchObject({ status: 403 })
  expect(await get('viewer.1', 'gw-1/sites')).toMatchObject({ status: 200, body: { siteIds: [1] } })
  expect(await sites(both, [2, 1])).toMatchObject({ status: 200, body: { siteIds: [1, 2] } })
  expect(await send('engineer.1', 'POST', 'gw-1/revoke-all')).toMatchObject({ status: 403 })
  expect(await sites('engineer.all', [3])).toMatchObject({ status: 200 })
  expect(await send('engineer.all', 'PATCH', 'gw-9/sites', { siteIds: [1] })).toMatchObject({ status: 404 })
  expect(await remove('engineer.all', `${tokens}/${body.id}`)).toBe(204)
  expect(await remove('engineer.all', `${tokens}/${'0'.repeat(16)}`)).toBe(404)
})
