/** A disk that is really full: nothing is receipted that is not on it, and what is goes on when there is room. */

import { expect } from 'vitest'
import { fillDisk, smallDisk, testWithSmallDisk } from '../../support/small-disk.ts'
import { until } from '../../support/until.ts'
import { CLOUD_MS, command, DEVICE, startInbox } from './support/inbox.ts'

const large = (n: number) => command(`c${n}`, { paramsJson: JSON.stringify('x'.repeat(50_000)) })

testWithSmallDisk('commands are refused while the disk is full, and those under way go on when it is not', async () => {
  const dir = await smallDisk()
  const site = await startInbox(dir)
  site.inbox.learnCloudTime(CLOUD_MS)
  const route = site.open()
  expect((await site.inbox.receive([large(0)])).stored).toEqual(['c0'])
  await until(() => route.frames.includes('publish 1 c0'))
  const makeRoom = fillDisk(dir)
  const stored: string[] = ['c0']
  let refused = 0
  for (let n = 1; n < 40; n++) {
    const receipts = await site.inbox.receive([large(n)])
    stored.push(...receipts.stored)
    refused += receipts.refused.length
  }
  expect(refused).toBeGreaterThan(0)
  expect(site.inbox.stats()).toMatchObject({ failing: expect.stringMatching(/full/), refused })
  // The device goes on; the edge answers it when it can store what it says.
  site.outlet.events.received(DEVICE, route, 1)
  makeRoom()
  await until(() => {
    site.clock.advance(1000)
    return route.frames.includes('release 1')
  })
  expect(site.inbox.stats().failing).toBeNull()
  expect((await site.inbox.receive([large(100)])).stored).toEqual(['c100'])
  stored.push('c100')
  await site.stop()
  const again = fillDisk(dir)
  const restarted = await startInbox(dir)
  again()
  await until(() => {
    restarted.clock.advance(1000)
    return restarted.inbox.stats().waiting + restarted.inbox.stats().sent === stored.length
  })
})
