import { expect, it } from 'vitest'
import { Registry } from '../../../cloud/registry/registry.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'

const serial = (index: number) => `MTR-${String(index).padStart(5, '0')}`

await describeOnEveryDatabase('the selection of devices', (database) => {
  const registryWith = async (devices: { siteId: number; serialNumber: string }[]) => {
    const handle = await database.open()
    const options = { database: handle, autoRegister: true, autoRegisterGateways: true, clock: systemClock }
    const registry = new Registry({ ...options, log: silentLogger })
    await registry.load('g1', devices)
    return registry.selection
  }

  it('finds thousands by serial number, each once, and leaves out who is not registered', async () => {
    const devices = Array.from({ length: 1_201 }, (_, index) => ({ siteId: 1, serialNumber: serial(index) }))
    const selection = await registryWith(devices)
    const wanted = [...devices.map((device) => device.serialNumber), 'unknown', serial(0)]
    const found = await selection.bySerialNumbers(wanted)
    expect(found).toHaveLength(1_201)
    expect(new Set(found.map((device) => device.serialNumber)).size).toBe(1_201)
    expect(await selection.bySerialNumbers([])).toEqual([])
  })

  it('gives one serial number of two sites twice, unless the site is named', async () => {
    const selection = await registryWith([
      { siteId: 1, serialNumber: 'MTR-1' },
      { siteId: 2, serialNumber: 'MTR-1' },
    ])
    const found = await selection.bySerialNumbers(['MTR-1'])
    expect(found.map((device) => device.siteId).sort()).toEqual([1, 2])
    expect(await selection.bySerialNumbers(['MTR-1'], 2)).toEqual([expect.objectContaining({ siteId: 2 })])
  })

  it('finds by site and type, in order, no more than asked for', async () => {
    const selection = await registryWith([
      { siteId: 1, serialNumber: 'MTR-1' },
      { siteId: 1, serialNumber: 'INV-1' },
      { siteId: 2, serialNumber: 'MTR-2' },
      { siteId: 1, serialNumber: 'MTR-3' },
    ])
    const serials = async (...of: Parameters<typeof selection.matching>) =>
      (await selection.matching(...of)).map((device) => device.serialNumber)
    expect((await serials({ siteId: 1 }, 10)).sort()).toEqual(['INV-1', 'MTR-1', 'MTR-3'])
    expect((await serials({ deviceType: 'METER' }, 10)).sort()).toEqual(['MTR-1', 'MTR-2', 'MTR-3'])
    expect((await serials({ siteId: 1, deviceType: 'METER' }, 10)).sort()).toEqual(['MTR-1', 'MTR-3'])
    expect(await serials({ deviceType: 'METER' }, 2)).toHaveLength(2)
    expect(await serials({ deviceType: 'BATTERY' }, 10)).toEqual([])
  })
})
