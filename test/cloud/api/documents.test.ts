import { TypeCompiler } from '@sinclair/typebox/compiler'
import { describe, expect, test } from 'vitest'
import { ProblemSchema } from '../../../cloud/api/http/problem.ts'
import { catalogue } from '../../../cloud/bus/catalogue.ts'
import { startApiCore } from '../../support/api-core.ts'
import type { AnyJson } from '../../support/json-request.ts'

async function documentOf(url: string): Promise<AnyJson> {
  const response = await fetch(url)
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toBe('application/json')
  return await response.json()
}

/** Every `$ref` in a document, which must lead somewhere in it. */
function unresolved(document: AnyJson): string[] {
  const missing: string[] = []
  const walk = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return
    for (const [name, member] of Object.entries(value)) {
      if (name !== '$ref') walk(member)
      else if (resolve(document, String(member)) === undefined) missing.push(String(member))
    }
  }
  walk(document)
  return missing
}

function resolve(document: AnyJson, ref: string): AnyJson {
  return ref
    .replace(/^#\//, '')
    .split('/')
    .reduce((at, part) => at?.[part.replaceAll('~1', '/').replaceAll('~0', '~')], document)
}

describe('the OpenAPI document', () => {
  test('describes every route with its permission, its answers and its problems', async () => {
    const { url, api } = await startApiCore()
    const document = await documentOf(`${url}/openapi.json`)
    expect(document.openapi).toMatch(/^3\.1\.\d$/)
    expect(document.info).toMatchObject({ title: 'Busbar', version: '0.0.0-test' })
    expect(unresolved(document)).toEqual([])
    const operationIds = new Set<string>()
    for (const route of api.routes) {
      const path = route.path.replaceAll(/:([A-Za-z]+)/g, '{$1}')
      const operation = document.paths[path]?.[route.method.toLowerCase()]
      expect(operation, `${route.method} ${path}`).toBeDefined()
      expect(operation['x-permission']).toEqual(route.permission)
      const schemes = operation.security.flatMap((each: AnyJson) => Object.keys(each))
      expect(schemes, path).toEqual(route.permission === 'none' ? [] : ['bearer', 'cookie', 'plainCookie'])
      for (const name of schemes) expect(document.components.securitySchemes[name], name).toBeDefined()
      if (route.permission !== 'none') {
        for (const status of ['401', '403', '429']) expect(operation.responses[status], path).toBeDefined()
      }
      operationIds.add(operation.operationId)
      const inPath = (operation.parameters ?? []).filter((parameter: AnyJson) => parameter.in === 'path')
      const named = [...path.matchAll(/\{([A-Za-z]+)\}/g)].map((match) => match[1])
      expect(inPath.map((parameter: AnyJson) => parameter.name)).toEqual(named)
      expect(Object.keys(operation.responses).some((status) => status.startsWith('2') || status === '101')).toBe(true)
      for (const [status, response] of Object.entries<AnyJson>(operation.responses)) {
        expect(response.description, `${path} ${status}`).not.toBe('')
        if (Number(status) < 400 || path === '/health/ready') continue
        expect(Object.keys(response.content), `${path} ${status}`).toEqual(['application/problem+json'])
      }
      if (route.method !== 'GET') {
        for (const status of ['400', '403', '413', '415', '422'])
          expect(operation.responses[status], path).toBeDefined()
      }
    }
    expect(operationIds.size).toBe(api.routes.length)
  })

  test('is what the answers follow', async () => {
    const { url, registry, core } = await startApiCore()
    await registry.load('gw-1', [{ siteId: 1, serialNumber: 'INV-001' }])
    await registry.gateways.create({ id: 'gw-1' })
    for (const deviceId of ['INV-001', 'unknown']) await core.commands.create({ deviceId, name: 'REBOOT' })
    const document = await documentOf(`${url}/openapi.json`)
    const expand = (schema: AnyJson): AnyJson => {
      if (Array.isArray(schema)) return schema.map(expand)
      if (typeof schema !== 'object' || schema === null) return schema
      if (schema.$ref !== undefined) return expand(resolve(document, schema.$ref))
      return Object.fromEntries(Object.entries(schema).map(([name, member]) => [name, expand(member)]))
    }
    for (const path of [
      'sites',
      'sites/1',
      'sites/1/latest',
      'gateways',
      'gateways/gw-1',
      'gateways/gw-1/gaps',
      'devices',
      'devices/1',
      'devices/1/latest',
      'commands',
    ]) {
      const template = `/api/v1/${path.replace(/\/(1|gw-1)/, '/{id}')}`
      const schema = expand(document.paths[template].get.responses['200'].content['application/json'].schema)
      expect(violations(schema, await documentOf(`${url}/api/v1/${path}`)), path).toEqual([])
    }
  })

  test('problems have the documented shape', async () => {
    const { url } = await startApiCore()
    const checker = TypeCompiler.Compile(ProblemSchema)
    for (const path of ['/nothing', '/api/v1/sites/1', '/api/v1/sites?limit=x', '/api/v1/ws']) {
      const problem = await (await fetch(url + path)).json()
      expect([...checker.Errors(problem)], path).toEqual([])
    }
  })
})

describe('the AsyncAPI document', () => {
  test('describes the frames of the WebSocket and every topic of the bus', async () => {
    const { url } = await startApiCore()
    const document = await documentOf(`${url}/asyncapi.json`)
    expect(document.asyncapi).toBe('3.0.0')
    expect(unresolved(document)).toEqual([])
    const addresses = Object.values<AnyJson>(document.channels).map(({ address }) => address)
    expect(addresses).toContain('/api/v1/ws')
    for (const { topic, partitions, retentionMs } of catalogue()) {
      const channel = Object.values<AnyJson>(document.channels).find(({ address }) => address === topic)
      expect(channel.bindings.kafka, topic).toMatchObject({
        partitions,
        topicConfiguration: { 'retention.ms': retentionMs },
      })
    }
    const frames = ['subscribe', 'unsubscribe', 'ping', 'subscribed', 'event', 'missed', 'error', 'ended']
    const ofChat = ['send', 'read', 'typing', 'resume', 'state', 'sent', 'done', 'resumed'].map(
      (name) => `chat.${name}`,
    )
    for (const name of [...frames, ...ofChat]) {
      expect(document.channels.websocket.messages[name], name).toBeDefined()
    }
    expect(document.channels.websocket['x-channels'].telemetry['x-permission']).toEqual({
      role: 'viewer',
      scope: 'site',
    })
    expect(document.channels.websocket['x-channels'].unread['x-scope']).toBe('notifications:read')
    expect(document.operations.receiveFrames.security).toHaveLength(4)
  })
})

test('the page for people loads nothing from elsewhere, and nothing that stands in it runs', async () => {
  const { url } = await startApiCore()
  const response = await fetch(`${url}/docs`)
  expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8')
  const policy = response.headers.get('content-security-policy') ?? ''
  expect(policy).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self';/)
  expect(policy).toContain("frame-ancestors 'none'")
  expect(policy).not.toMatch(/unsafe|sha256|data:|\*/)
  const page = await response.text()
  expect(page).toContain('<title>Busbar API</title>')
  expect(page).not.toMatch(/https?:\/\/|<style|<script>| style=| on[a-z]+=/)
  const loaded = [...page.matchAll(/\b(?:src|href)="([^"]+)"/g)].map((match) => String(match[1]))
  expect(loaded.toSorted()).toEqual(['/asyncapi.json', '/docs/page.css', '/docs/page.js', '/openapi.json'])
  const script = await fetch(`${url}/docs/page.js`)
  expect(script.headers.get('content-type')).toBe('text/javascript; charset=utf-8')
  const program = await script.text()
  expect(() => new Function(program)).not.toThrow()
  const style = await fetch(`${url}/docs/page.css`)
  expect(style.headers.get('content-type')).toBe('text/css; charset=utf-8')
})

/** Where `value` does not follow a JSON Schema of the kind that the documents use. */
function violations(schema: AnyJson, value: AnyJson, at = ''): string[] {
  const types = [schema.type].flat()
  if (schema.anyOf !== undefined) {
    return schema.anyOf.some((choice: AnyJson) => violations(choice, value).length === 0)
      ? []
      : [`${at} matches no choice`]
  }
  if (schema.enum !== undefined && !schema.enum.includes(value)) return [`${at} is ${value}`]
  if (types.includes('null') && value === null) return []
  if (types.includes('array')) {
    if (!Array.isArray(value)) return [`${at} is no array`]
    return value.flatMap((item, i) => violations(schema.items, item, `${at}/${i}`))
  }
  if (types.includes('object')) {
    if (typeof value !== 'object' || value === null) return [`${at} is no object`]
    const missing = (schema.required ?? [])
      .filter((name: string) => !(name in value))
      .map((name: string) => `${at}/${name} is missing`)
    const members = Object.entries(value).flatMap(([name, member]) => {
      const known = schema.properties?.[name]
      if (known !== undefined) return violations(known, member, `${at}/${name}`)
      return schema.additionalProperties === false ? [`${at}/${name} is not documented`] : []
    })
    return [...missing, ...members]
  }
  if (types.includes('string') && typeof value !== 'string') return [`${at} is no string`]
  if (types.includes('integer') && !Number.isInteger(value)) return [`${at} is no integer`]
  if (types.includes('boolean') && typeof value !== 'boolean') return [`${at} is no boolean`]
  if (types.includes('null')) return [`${at} is not null`]
  return []
}
