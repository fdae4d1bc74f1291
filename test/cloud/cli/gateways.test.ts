import { expect, onTestFinished, test } from 'vitest'
import { certificateRoutes } from '../../../cloud/api/routes/certificates.ts'
import { cloudCommandLine } from '../../../cloud/cli/program.ts'
import { openDatabase } from '../../../cloud/database/database.ts'
import { Registry } from '../../../cloud/registry/registry.ts'
import { paintWith } from '../../../shared/cli/terminal.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { startApiCore } from '../../support/api-core.ts'
import { newRequest } from '../../support/certificates.ts'
import { trustCore } from '../../support/gateway-trust.ts'
import { ManualClock } from '../../support/manual-clock.ts'

async function start() {
  const common = { clock: systemClock, log: silentLogger }
  const database = openDatabase({ url: 'memory:', ...common })
  onTestFinished(() => database.stop())
  await database.start()
  const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: false, ...common })
  const trust = await trustCore(database, { clock: new ManualClock(Date.now()) })
  const routes = certificateRoutes({ trust, registry, publicUrl: null, clock: trust.clock })
  const { url } = await startApiCore({ database, registry, routes })
  const run = async (...args: string[]) => {
    let [stdout, stderr] = ['', '']
    const terminal = {
      out: (text: string) => {
        stdout += text
      },
      err: (text: string) => {
        stderr += text
      },
      isInteractive: false,
      columns: 100,
      paint: paintWith(false),
    }
    const code = await cloudCommandLine(terminal, {}).run(['bun', 'busbar-cloud', 'gateway', ...args, '--url', url])
    return { code, stdout, stderr }
  }
  return { trust, url, run }
}

test('a token alone is on standard output, and what to type with it beside', async () => {
  const { trust, url, run } = await start()
  const { code, stdout, stderr } = await run('token', 'gw-1', '--site', '1', '--site', '2', '--expires-in', '2h')
  expect(code).toBe(0)
  expect(stderr).toContain(`busbar-edge enroll --url ${url} --token-file -`)
  expect(stderr).not.toContain(stdout.trim())
  const { csrPem } = await newRequest()
  await trust.enrolment.redeem({ token: stdout, csrPem }, 'there')
  expect((await run('token', 'gw-1', '--list')).stdout).toMatch(/^[0-9a-f]{16}\tredeemed\t.*\tthere\n$/)
  const [, id = ''] = (await run('token', 'gw-1')).stdout.split('.')
  expect(await run('token', 'gw-1', '--revoke', id)).toMatchObject({ code: 0 })
  expect((await run('token', 'gw-1', '--list')).stdout).toContain(`${id}\trevoked`)
  expect((await run('list')).stdout).toMatch(/^gw-1\taway\t/)
  expect(await run('token', 'gw-2')).toMatchObject({ code: 1, stderr: expect.stringContaining('--site') })
})

test('certificates are listed and revoked, one or all', async () => {
  const { trust, run } = await start()
  const { csrPem } = await newRequest()
  await trust.enrolment.redeem({ token: await trust.token(), csrPem }, 'there')
  const [serial = ''] = (await run('certificates', 'gw-1')).stdout.split('\t')
  expect((await run('certificates', 'gw-1')).stdout).toMatch(/\tgood\tenrolment\t/)
  expect(await run('revoke', 'gw-1')).toMatchObject({ code: 64, stderr: expect.stringContaining('--all') })
  expect(await run('revoke', 'gw-1', 'dead')).toMatchObject({ code: 1 })
  expect(await run('revoke', 'gw-1', serial, '--reason', 'stolen')).toMatchObject({ code: 0 })
  expect((await run('certificates', 'gw-1')).stdout).toMatch(/\trevoked\tenrolment\t.*\tstolen \(local\)\n$/)
  expect(JSON.parse((await run('revoke', 'gw-1', '--all', '--json')).stdout)).toEqual({ revoked: 1 })
})

test('sites are shown and given', async () => {
  const { run } = await start()
  expect(await run('sites', 'gw-1', '1')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('GATEWAY_NOT_FOUND'),
  })
  expect(await run('sites', 'gw-1', '3', '1', '--register')).toMatchObject({ code: 0, stdout: '1\n3\n' })
  expect((await run('sites', 'gw-1')).stdout).toBe('1\n3\n')
  expect(await run('sites', 'gw-1', 'here')).toMatchObject({ code: 64 })
})
