import { expect, it, onTestFinished } from 'vitest'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import type { StatusChange } from '../../../cloud/registry/device.ts'
import { Registry, type RegistryOptions } from '../../../cloud/registry/registry.ts'
import { silentLogger } from '../../../shared/log.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const hello = (gatewayId: string, sessionId = 'session-1') => ({
  gatewayId,
  sessionId,
  epoch: 'e1',
  bootId: 'b1',
  softwareVersion: '0.1.0',
  clockOffsetMs: -12,
})
const INV = { siteId: 1, serialNumber: 'INV-001' }

await describeOnEveryDatabase('the registry', (database) => {
  const registryOn = (handle: DatabaseHandle, options: Partial<RegistryOptions> = {}) => {
    const clock = new ManualClock()
    const registry = new Registry({
      database: handle,
      autoRegister: true,
      autoRegisterGateways: true,
      clock,
      log: silentLogger,
      ...options,
    })
    return { registry, clock }
  }
  const open = async (options: Partial<RegistryOptions> = {}) => {
    const handle = await database.open()
    return { handle, ...registryOn(handle, options) }
  }

  it('registers a device, its site and its type when its first record arrives', async () => {
    const { registry } = await open()
    expect(registry.resolve('g1', 1, 'INV-001')).toBeNull()
    const keys = [INV, { siteId: 2, serialNumber: 'MTR-9' }, { siteId: 2, serialNumber: 'X' }, INV]
    const loaded = await registry.load('g1', keys)
    expect(loaded.map((device) => device?.deviceType)).toEqual(['SOLAR_INVERTER', 'METER', 'UNKNOWN', 'SOLAR_INVERTER'])
    expect(loaded[0]).toMatchObject({ ...INV, status: null, statusAtMs: null })
    expect(loaded[3]).toBe(loaded[0])
    expect(registry.resolve('g1', 1, 'INV-001')).toBe(loaded[0])
    expect((await registry.sites.list()).items.map(({ id, name }) => [id, name])).toEqual([
      [1, 'Site 1'],
      [2, 'Site 2'],
    ])
    expect((await registry.devices.list({ siteId: 1 })).items).toMatchObject([{ ...INV, gatewayId: 'g1' }])
  })

  it('takes the type of the longest prefix', async () => {
    const { registry } = await open({ deviceTypePrefixes: { A: 'METER', AB: 'BATTERY' } })
    const loaded = await registry.load('g1', [
      { siteId: 1, serialNumber: 'AB1' },
      { siteId: 1, serialNumber: 'AC1' },
      { siteId: 1, serialNumber: 'B1' },
    ])
    expect(loaded.map((device) => device?.deviceType)).toEqual(['BATTERY', 'METER', 'UNKNOWN'])
  })

  it('registers nothing when that is not allowed, and finds what was registered since', async () => {
    const { registry } = await open({ autoRegister: false })
    expect(await registry.load('g1', [INV])).toEqual([null])
    expect((await registry.devices.list()).items).toEqual([])
    await registry.sites.create({ id: 1 })
    const device = await registry.devices.create(INV)
    expect(await registry.load('g1', [INV])).toMatchObject([{ deviceId: device.id }])
  })

  it('gives one id when many cores register the same devices at once', async () => {
    const url = await database.freshUrl()
    const cores = await Promise.all(
      Array.from({ length: 3 }, async () => registryOn(await database.open({ url })).registry),
    )
    const keys = Array.from({ length: 600 }, (_, i) => ({ siteId: (i % 3) + 1, serialNumber: `D-${i}` }))
    const loads = cores.map((core, i) => core.load(`g${i}`, i === 1 ? keys.toReversed() : keys))
    const [first, second, third] = await Promise.all(loads)
    const ids = first?.map((device) => device?.deviceId)
    expect(new Set(ids).size).toBe(600)
    expect(second?.toReversed().map((device) => device?.deviceId)).toEqual(ids)
    expect(third?.map((device) => device?.deviceId)).toEqual(ids)
  })

  it('asks the database again after a while, and keeps the object of a device that is the same', async () => {
    const { registry, clock, handle } = await open({ cacheMs: 30_000 })
    const [device] = await registry.load('g1', [INV])
    await handle.kysely.updateTable('devices').set({ status: 'ERROR', status_at_ms: 7 }).execute()
    clock.advance(29_999)
    expect(registry.resolve('g1', 1, 'INV-001')?.status).toBeNull()
    clock.advance(1)
    expect(registry.resolve('g1', 1, 'INV-001')).toBeNull()
    const [again] = await registry.load('g1', [INV])
    expect(again).toBe(device)
    expect(again?.status).toBe('ERROR')

    await registry.devices.update(again?.deviceId as number, { deviceType: 'SENSOR' })
    const [changed] = await registry.load('g1', [INV])
    expect(changed?.deviceType).toBe('SENSOR')
    expect(changed).not.toBe(device)
  })

  it('knows behind which gateway a device is', async () => {
    const { registry } = await open()
    const [before] = await registry.load('g1', [INV])
    expect(registry.resolve('g2', 1, 'INV-001')).toBeNull()
    const [after] = await registry.load('g2', [INV])
    expect(after?.deviceId).toBe(before?.deviceId)
    expect(registry.resolve('g1', 1, 'INV-001')).toBeNull()
    expect((await registry.devices.list({ gatewayId: 'g2' })).items).toHaveLength(1)
    expect((await registry.devices.list({ gatewayId: 'g1' })).items).toHaveLength(0)
  })

  it('keeps at most as many devices in memory as it may', async () => {
    const { registry } = await open({ cacheDevicesMax: 10 })
    const keys = Array.from({ length: 25 }, (_, i) => ({ siteId: 1, serialNumber: `D-${i}` }))
    const loaded = await registry.load('g1', keys)
    expect(loaded.every((device) => device !== null)).toBe(true)
    expect(registry.stats().cachedDevices).toBe(10)
    expect(registry.resolve('g1', 1, 'D-0')).toBeNull()
    expect(registry.resolve('g1', 1, 'D-24')).not.toBeNull()
  })

  it('keeps the latest status by event time', async () => {
    const { registry } = await open()
    const [device] = await registry.load('g1', [INV])
    const deviceId = device?.deviceId as number
    const set = (status: StatusChange['status'], atMs: number) => ({ deviceId, status, atMs })
    await registry.setStatuses([set('ONLINE', 10), set('ERROR', 30), set('OFFLINE', 20)])
    expect(device).toMatchObject({ status: 'ERROR', statusAtMs: 30 })
    await registry.setStatuses([set('OFFLINE', 29)])
    expect(device?.status).toBe('ERROR')
    await registry.setStatuses([{ ...set('MAINTENANCE', 30), reason: 'firmware' }])
    expect(await registry.devices.get(deviceId)).toMatchObject({
      status: 'MAINTENANCE',
      statusReason: 'firmware',
      statusAtMs: 30,
    })
  })

  it('writes the statuses of thousands of devices together', async () => {
    const { registry } = await open()
    const keys = Array.from({ length: 1_201 }, (_, i) => ({ siteId: 1, serialNumber: `D-${i}` }))
    const loaded = await registry.load('g1', keys)
    await registry.setStatuses(
      loaded.map((device) => ({ deviceId: device?.deviceId as number, status: 'ONLINE', atMs: 5 })),
    )
    expect((await registry.devices.list({ status: 'ONLINE', limit: 500 })).items).toHaveLength(500)
    expect(loaded.every((device) => device?.status === 'ONLINE')).toBe(true)
  })

  it('leaves a status of the same time alone for who comes behind', async () => {
    const { registry, handle } = await open()
    const [device] = await registry.load('g1', [INV])
    const deviceId = device?.deviceId as number
    await registry.setStatuses([{ deviceId, status: 'OFFLINE', atMs: 10 }])
    const write = (status: StatusChange['status'], atMs: number) =>
      handle.transaction((transaction) => registry.writeStatuses([{ deviceId, status, atMs }], transaction, 'keep'))
    await write('ONLINE', 10)
    expect(await registry.devices.get(deviceId)).toMatchObject({ status: 'OFFLINE' })
    await write('ONLINE', 11)
    expect(await registry.devices.get(deviceId)).toMatchObject({ status: 'ONLINE' })
  })

  it('takes a device for silent no more when a status of its own is written, and only then', async () => {
    const { registry, handle } = await open()
    const [device] = await registry.load('g1', [INV])
    const deviceId = device?.deviceId as number
    await registry.setStatuses([{ deviceId, status: 'OFFLINE', atMs: 10 }])
    await handle.kysely.updateTable('devices').set({ silent_since_ms: 4 }).execute()
    const write = (status: StatusChange['status'], atMs: number) =>
      handle.transaction((transaction) => registry.writeStatuses([{ deviceId, status, atMs }], transaction, 'keep'))
    await write('ONLINE', 9)
    await write('OFFLINE', 10)
    expect(await registry.devices.get(deviceId)).toMatchObject({ status: 'OFFLINE', silentSinceMs: 4 })
    await registry.setStatuses([{ deviceId, status: 'ONLINE', atMs: 10 }])
    expect(await registry.devices.get(deviceId)).toMatchObject({ status: 'ONLINE', silentSinceMs: null })
  })

  it('has statuses as they are now, whichever core wrote them', async () => {
    const url = await database.freshUrl()
    const here = registryOn(await database.open({ url })).registry
    const there = registryOn(await database.open({ url })).registry
    const [device] = await here.load('g1', [INV])
    const deviceId = device?.deviceId as number
    await there.setStatuses([{ deviceId, status: 'ERROR', atMs: 10 }])
    expect((await here.load('g1', [INV]))[0]?.status).toBeNull()
    expect([...(await here.storedStatuses([deviceId, 99]))]).toEqual([
      [deviceId, { status: 'ERROR', statusAtMs: 10, repeatedAtMs: null }],
    ])
  })

  it('keeps after how long a silence a device counts as offline', async () => {
    const { registry } = await open()
    await registry.sites.create({ id: 1 })
    const { id, silentAfterMs } = await registry.devices.create({ ...INV, silentAfterMs: 60_000 })
    expect(silentAfterMs).toBe(60_000)
    expect(await registry.devices.update(id, { name: 'Roof' })).toMatchObject({ silentAfterMs: 60_000 })
    expect(await registry.devices.update(id, { silentAfterMs: 0 })).toMatchObject({ silentAfterMs: 0 })
    expect(await registry.devices.update(id, { silentAfterMs: null })).toMatchObject({ silentAfterMs: null })
    for (const wrong of [-1, 0.5, 2_592_000_001]) {
      await expect(registry.devices.update(id, { silentAfterMs: wrong })).rejects.toThrow('silentAfterSeconds')
    }
  })

  it('writes statuses with the rest of a transaction, or not at all', async () => {
    const { registry, handle } = await open()
    const [device] = await registry.load('g1', [INV])
    const changes: StatusChange[] = [{ deviceId: device?.deviceId as number, status: 'ONLINE', atMs: 5 }]
    const failing = handle.transaction(async (transaction) => {
      await registry.writeStatuses(changes, transaction)
      throw new Error('the cursor could not be written')
    })
    await expect(failing).rejects.toThrow('the cursor')
    expect(await registry.devices.get(device?.deviceId as number)).toMatchObject({ status: null })
    expect(device?.status).toBeNull()
  })

  it('reads statuses afresh when a gateway comes from another core', async () => {
    const url = await database.freshUrl()
    const here = registryOn(await database.open({ url })).registry
    const there = registryOn(await database.open({ url })).registry
    await here.gatewayConnected(hello('g1', 'here'))
    const [device] = await here.load('g1', [INV])
    const deviceId = device?.deviceId as number
    await here.setStatuses([{ deviceId, status: 'ONLINE', atMs: 5 }])
    await there.gatewayConnected(hello('g1', 'there'))
    await there.load('g1', [INV])
    await there.setStatuses([{ deviceId, status: 'OFFLINE', atMs: 9 }])
    expect(here.resolve('g1', 1, 'INV-001')?.status).toBe('ONLINE')
    await here.gatewayConnected(hello('g1', 'here again'))
    expect((await here.load('g1', [INV]))[0]?.status).toBe('OFFLINE')
  })

  it('refuses an unknown gateway when gateways may not register themselves', async () => {
    const { registry } = await open({ autoRegisterGateways: false })
    await expect(registry.gatewayConnected(hello('g1'))).rejects.toMatchObject({ code: 'GATEWAY_NOT_REGISTERED' })
    await registry.gateways.create({ id: 'g1', name: 'North' })
    await registry.gatewayConnected(hello('g1'))
    expect(await registry.gateways.get('g1')).toMatchObject({
      name: 'North',
      connected: true,
      softwareVersion: '0.1.0',
    })
  })

  it('shows a gateway as connected until it leaves, and ignores the farewell of an older uplink session', async () => {
    const { registry, clock } = await open({ gatewaySilentAfterMs: 60_000 })
    await registry.gatewayConnected(hello('g1', 'first'))
    await registry.gatewayConnected(hello('g1', 'second'))
    await registry.gatewayDisconnected('g1', 'first')
    expect(await registry.gateways.get('g1')).toMatchObject({ connected: true, clockOffsetMs: -12, backlog: null })
    await registry.gatewayDisconnected('g1', 'second')
    expect(await registry.gateways.get('g1')).toMatchObject({ connected: false })

    await registry.gatewayConnected(hello('g1', 'third'))
    clock.advance(60_001)
    expect(await registry.gateways.get('g1')).toMatchObject({ connected: false })
    expect((await registry.gateways.list({ connected: true })).items).toHaveLength(0)
    expect((await registry.gateways.list({ connected: false })).items).toHaveLength(1)
  })

  it('writes what is heard of gateways together, and what is left when it stops', async () => {
    const { registry, clock } = await open({ reportPeriodMs: 2_000 })
    await registry.start()
    onTestFinished(() => registry.stop())
    await registry.gatewayConnected(hello('g1'))
    await registry.gatewayConnected(hello('g2'))
    clock.advance(1_000)
    registry.gatewayBacklog('g1', { records: 5, bytes: 500, oldestMs: 77 })
    registry.gatewaySeen('g1')
    registry.gatewaySeen('g2')
    expect(await registry.gateways.get('g1')).toMatchObject({ backlog: null })
    await registry.stop()
    const seenAtMs = clock.wallMs()
    expect(await registry.gateways.get('g1')).toMatchObject({
      backlog: { records: 5, bytes: 500, oldestMs: 77 },
      lastSeenAtMs: seenAtMs,
    })
    expect(await registry.gateways.get('g2')).toMatchObject({ backlog: null, lastSeenAtMs: seenAtMs })
    registry.gatewayBacklog('g1', { records: 0, bytes: 0, oldestMs: null })
    await registry.stop()
    expect(await registry.gateways.get('g1')).toMatchObject({ backlog: { records: 0, bytes: 0, oldestMs: null } })
  })

  it('records a gap once', async () => {
    const { registry } = await open()
    const gap = {
      gatewayId: 'g1',
      epoch: 'e',
      lane: 'telemetry',
      firstSequence: 2 ** 52,
      recordCount: 3,
      reason: 'bytes',
      atMs: 9,
      fromMs: 7,
      toMs: 8,
    } as const
    const ofUnknownTime = { ...gap, firstSequence: 1, atMs: 10, fromMs: null, toMs: null }
    await registry.recordGap(gap)
    await registry.recordGap(gap)
    await registry.recordGap(ofUnknownTime)
    expect(await registry.gateways.gaps('g1')).toEqual([ofUnknownTime, gap])
  })

  it('lists in pages that new rows do not disturb', async () => {
    const { registry } = await open()
    const keys = Array.from({ length: 7 }, (_, i) => ({ siteId: 1, serialNumber: `D-${i}` }))
    await registry.load('g1', keys)
    const seen: string[] = []
    let cursor: string | undefined
    do {
      const page = await registry.devices.list({ siteId: 1, limit: 3, cursor })
      seen.push(...page.items.map((device) => device.serialNumber))
      if (seen.length === 3) await registry.load('g1', [{ siteId: 1, serialNumber: 'late' }])
      cursor = page.next ?? undefined
    } while (cursor !== undefined)
    expect(seen).toHaveLength(8)
    expect(new Set(seen)).toEqual(new Set([...keys.map((key) => key.serialNumber), 'late']))

    for (const id of ['b', 'a', 'c']) await registry.gatewayConnected(hello(id))
    const first = await registry.gateways.list({ limit: 2 })
    expect(first.items.map((gateway) => gateway.id)).toEqual(['a', 'b'])
    const second = await registry.gateways.list({ limit: 2, cursor: first.next as string })
    expect(second).toMatchObject({ items: [{ id: 'c' }], next: null })
    await registry.load('b', [{ siteId: 4, serialNumber: 'Z' }])
    expect((await registry.gateways.list({ siteId: 4 })).items.map((gateway) => gateway.id)).toEqual(['b'])
  })

  it.each([
    ['limit', { limit: 0 }],
    ['limit', { limit: 501 }],
    ['cursor', { cursor: 'nonsense' }],
    ['cursor', { cursor: Buffer.from('"text"').toString('base64url') }],
    ['cursor', { cursor: Buffer.from('2147483648').toString('base64url') }],
    ['cursor', { cursor: Buffer.from('-1').toString('base64url') }],
  ])('refuses a page whose %s is wrong', async (field, request) => {
    const { registry } = await open()
    await expect(registry.devices.list(request)).rejects.toMatchObject({
      code: 'REGISTRATION_INVALID',
      fields: [{ field }],
    })
  })

  it('names every wrong value of a registration and what it may be', async () => {
    const { registry } = await open()
    const wrong = registry.devices.create({ siteId: 0, serialNumber: 'a/b', deviceType: 'meter', name: ' x' })
    await expect(wrong).rejects.toMatchObject({
      code: 'REGISTRATION_INVALID',
      fields: [{ field: 'siteId', value: 0 }, { field: 'serialNumber' }, { field: 'deviceType' }, { field: 'name' }],
    })
    await expect(wrong).rejects.toThrow('serialNumber "a/b" must be 1 to 64 letters')
    await expect(registry.sites.create({ id: 1.5 })).rejects.toMatchObject({ fields: [{ field: 'siteId' }] })
    await expect(registry.gateways.create({ id: 'a b' })).rejects.toMatchObject({ fields: [{ field: 'gatewayId' }] })
  })

  it('refuses what exists already, and changes only what exists', async () => {
    const { registry } = await open()
    await expect(registry.devices.create(INV)).rejects.toMatchObject({ code: 'SITE_NOT_FOUND' })
    await registry.sites.create({ id: 1, name: 'North' })
    await expect(registry.sites.create({ id: 1 })).rejects.toMatchObject({ code: 'SITE_EXISTS' })
    const device = await registry.devices.create({ ...INV, name: 'Roof' })
    expect(device.deviceType).toBe('SOLAR_INVERTER')
    await expect(registry.devices.create(INV)).rejects.toMatchObject({ code: 'DEVICE_EXISTS' })
    await registry.gateways.create({ id: 'g1' })
    await expect(registry.gateways.create({ id: 'g1' })).rejects.toMatchObject({ code: 'GATEWAY_EXISTS' })

    expect(await registry.sites.update(1, { name: 'South' })).toMatchObject({ name: 'South' })
    expect(await registry.devices.update(device.id, { name: null })).toMatchObject({
      name: null,
      deviceType: 'SOLAR_INVERTER',
    })
    expect(await registry.gateways.update('g1', { name: 'Hut' })).toMatchObject({ name: 'Hut' })
    await expect(registry.sites.update(9, { name: 'x' })).rejects.toMatchObject({ code: 'SITE_NOT_FOUND' })
    await expect(registry.devices.update(99, {})).rejects.toMatchObject({ code: 'DEVICE_NOT_FOUND' })
    await expect(registry.gateways.update('g9', {})).rejects.toMatchObject({ code: 'GATEWAY_NOT_FOUND' })
    expect(await registry.devices.get(99)).toBeNull()
  })
})
