import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { aclsOf, CORE_SERVICES } from '../../../cloud/bus/acls.ts'
import { catalogue } from '../../../cloud/bus/catalogue.ts'
import { printAcls } from '../../../cloud/cli/topic-acls.ts'
import { paintWith } from '../../../shared/cli/terminal.ts'

const acls = aclsOf(catalogue(), ['device-status'])
const rightsOn = (name: string, services = CORE_SERVICES) =>
  acls
    .filter((acl) => acl.name === name && services.includes(acl.service))
    .flatMap(({ service, operations }) => operations.map((operation) => `${service} ${operation}`))

it('give each service what the catalogue says it writes and reads', () => {
  expect(rightsOn('device-status')).toEqual([
    'ingest Write',
    'relay Write',
    'analytics Read',
    'alerts Read',
    'dead-letters Write',
    'live Read',
    'topic-check Describe',
    'topic-check DescribeConfigs',
  ])
  expect(rightsOn('orchestrator.responses-dlt')).toEqual([
    'ingest Write',
    'relay Write',
    'orchestration Write',
    'dead-letters Read',
    'topic-check Describe',
    'topic-check DescribeConfigs',
  ])
})

it('let the core create nothing, and nobody but the live channels delete', () => {
  const granted = (operation: string) =>
    acls.flatMap(({ service, name, operations }) =>
      (operations as readonly string[]).includes(operation) ? [`${service} ${name}`] : [],
    )
  expect(granted('Create').filter((grant) => !grant.startsWith('topic-setup '))).toEqual([])
  expect(granted('Delete')).toEqual(['live busbar-tail-'])
})

it('leave no producer of the catalogue out', () => {
  const groups = new Set(catalogue().flatMap((spec) => spec.groups))
  for (const { topic, producers } of catalogue()) {
    const ours = producers.filter((producer) => !groups.has(producer))
    if (ours.length === 0) continue
    expect(
      rightsOn(topic).some((right) => /^(ingest|relay|communication|activity) Write$/.test(right)),
      topic,
    ).toBe(true)
  }
})

it('let the activity log write what it does, its dead letters, and as one whatever belongs together', () => {
  expect(rightsOn('user-activity-logs', ['activity', 'relay'])).toEqual([
    'relay Write',
    'activity Read',
    'activity Write',
  ])
  expect(rightsOn('user-activity-analytics', ['activity', 'relay'])).toEqual(['relay Write', 'activity Write'])
  expect(rightsOn('user-activity-logs-dlq', ['activity'])).toEqual(['activity Write'])
  let script = ''
  const out = (text: string) => {
    script += text
  }
  const terminal = { out, err: out, isInteractive: false, paint: paintWith(false) }
  printAcls({ principal: 'User:a', service: ['activity'], format: 'commands' }, terminal)
  expect(script).toContain(
    '--operation Describe --operation Write \\\n  --resource-pattern-type prefixed \\\n  --transactional-id busbar-tx-',
  )
})

it('are a script that a shell takes as it is, whatever the user is called', () => {
  let script = ''
  const out = (text: string) => {
    script += text
  }
  const terminal = { out, err: out, isInteractive: false, paint: paintWith(false) }
  const principal = "User:CN=it's busbar,O=$(id)"
  printAcls({ principal, service: ['live'], format: 'commands' }, terminal)
  const env = { BROKERS: 'kafka:9092', KAFKA_ACLS: 'echo', PATH: process.env.PATH ?? '' }
  const [first, second, ...more] = execFileSync('sh', ['-s'], { input: script, env, encoding: 'utf8' })
    .trim()
    .split('\n')
  expect(first).toContain(
    `--allow-principal ${principal} --operation Read --resource-pattern-type literal --topic device-`,
  )
  expect(second).toContain('--operation Read --operation Delete --resource-pattern-type prefixed --group busbar-tail-')
  expect(more).toEqual([])
  expect(() => printAcls({ principal: 'busbar', format: 'table' }, terminal)).toThrow(
    expect.objectContaining({ code: 'USAGE' }),
  )
})
