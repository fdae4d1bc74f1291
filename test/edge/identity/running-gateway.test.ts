import { rm } from 'node:fs/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { certifyingIngest } from '../../support/certifying-ingest.ts'
import { busbar } from '../../support/command.ts'
import { type EdgeProcess, type EdgeProcessOptions, startEdge } from '../../support/edge-process.ts'
import { type EnrolmentCloud, enrolmentCloud } from '../../support/enrolment-cloud.ts'
import { describeWith } from '../../support/real-parts.ts'
import { until } from '../../support/until.ts'

async function edge(options: EdgeProcessOptions = {}): Promise<EdgeProcess> {
  const started = await startEdge({
    gatewayId: 'gw-1',
    config: { uplink: { enabled: true } },
    ...options,
  })
  onTestFinished(async () => {
    await started.kill('SIGKILL')
    await rm(started.dir, { recursive: true, force: true })
  })
  return started
}

async function cloudWithIngest(): Promise<EnrolmentCloud> {
  const cloud = await enrolmentCloud()
  const { port } = await certifyingIngest(cloud.authority)
  cloud.set.ingestAddress = `127.0.0.1:${port}`
  return cloud
}

function enroll(gateway: EdgeProcess, cloud: EnrolmentCloud) {
  const env = { BUSBAR_EDGE_ENROLMENT_TOKEN: cloud.token() }
  return busbar('edge', ['enroll', '--url', cloud.url, '--config', gateway.configPath], { env })
}

const ready = async (gateway: EdgeProcess): Promise<boolean> => (await fetch(`${gateway.healthUrl}/health/ready`)).ok

describe('a gateway that runs', () => {
  test('serves its site before it is enrolled, says what to do, and dials once it is', async () => {
    const gateway = await edge()
    expect(await ready(gateway)).toBe(true)
    await until(async () => (await gateway.status()).certificate?.advice?.includes('not enrolled'))
    const shown = await busbar('edge', ['status', '--config', gateway.configPath])
    expect(shown.stdout).toMatch(/^identity none; from enrolment\n {9}.*not enrolled/m)

    const cloud = await cloudWithIngest()
    expect((await enroll(gateway, cloud)).code).toBe(0)
    await until(async () => (await gateway.status()).uplink?.connected, { timeoutMs: 10_000 })
    expect((await gateway.status()).certificate).toMatchObject({ state: 'good', source: 'enrolment', advice: null })
    const metrics = await (await fetch(`${gateway.healthUrl}/metrics`)).text()
    expect(metrics).toContain('busbar_edge_certificate_state{state="good"} 1')
    expect(metrics).toMatch(/busbar_edge_certificate_not_after_seconds \d{10}/)
    expect(gateway.logs()).not.toContain('s3cret')
  })
})

describeWith(['faketime'], 'with a clock that is wrong', () => {
  test.each([
    ['1970-01-02 00:00:00', 'notYetValid', '1970-01-02'],
    ['2099-01-02 00:00:00', 'expired', '2099-01-02'],
  ])(
    'a gateway that starts at %s serves its site, and says that the clock is to be checked',
    async (at, state, said) => {
      const cloud = await cloudWithIngest()
      const enrolled = await edge()
      await enroll(enrolled, cloud)
      await enrolled.stop()
      const gateway = await edge({
        dir: enrolled.dir,
        mqttPort: enrolled.mqttPort,
        healthPort: enrolled.healthPort,
        wrapper: ['faketime', at],
      })
      expect(await ready(gateway)).toBe(true)
      await until(async () => (await gateway.status()).uplink?.lastError?.includes(`the clock says ${said}`))
      const { certificate, readiness } = await gateway.status()
      expect({ state: certificate?.state, ready: readiness.ready }).toEqual({ state, ready: true })
      expect(certificate?.advice).toContain('check the clock')
      expect(cloud.issued).toHaveLength(1)
    },
  )
})
