/** The command line against a real API and a real activity log, in this process. */

import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  ActivityIntake,
  ActivityQueries,
  ActivitySeal,
  ActivityTypes,
  type CheckedActivity,
} from '../../../cloud/activity/activity.ts'
import { activityRoutes } from '../../../cloud/api/routes/activities.ts'
import type { BusRecord } from '../../../cloud/bus/bus.ts'
import { followActivities } from '../../../cloud/cli/activity-follow.ts'
import { cloudCommandLine } from '../../../cloud/cli/program.ts'
import { openDatabase } from '../../../cloud/database/database.ts'
import { paintWith, type Terminal } from '../../../shared/cli/terminal.ts'
import { systemClock } from '../../../shared/clock.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { activityCore, activityKeys, checkedActivity, OLD_KEY } from '../../support/activity-log.ts'
import { startApiCore } from '../../support/api-core.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'

const common = { clock: systemClock, random: systemRandom, log: silentLogger }
const DAY = '2026-01-31'
const BEGAN_MS = Date.parse(`${DAY}T10:00:00Z`)

function recorded(isInteractive = false) {
  const said = { stdout: '', stderr: '' }
  const terminal: Terminal = {
    out: (text) => {
      said.stdout += text
    },
    err: (text) => {
      said.stderr += text
    },
    isInteractive,
    columns: 100,
    paint: paintWith(false),
  }
  return { said, terminal }
}

/** A log on a file, and the command line of somebody who has its config. */
async function startLog() {
  const dir = await tempDir()
  const url = `sqlite:${join(dir, 'busbar.db')}`
  const database = openDatabase({ url, ...common })
  onTestFinished(() => database.stop())
  await database.start()
  const clock = new ManualClock(BEGAN_MS)
  const keys = activityKeys(OLD_KEY)
  const core = activityCore(database, clock, keys)
  const env = { BUSBAR_CLOUD_DATABASE_URL: url, BUSBAR_CLOUD_ACTIVITY_KEYS: OLD_KEY.toString('base64'), USER: 'ann' }
  const run = async (args: readonly string[], more: Readonly<Record<string, string>> = {}, isInteractive = false) => {
    const { said, terminal } = recorded(isInteractive)
    const line = cloudCommandLine(terminal, { XDG_CONFIG_HOME: join(dir, 'config'), ...env, ...more })
    const code = await line.run(['bun', 'busbar-cloud', 'activity', ...args])
    return { code, ...said }
  }
  return { dir, database, clock, keys, run, append: core.append }
}

async function startApi() {
  const log = await startLog()
  const published: BusRecord[] = []
  const types = new ActivityTypes(new Map([['create_alert_rule', 'Make a rule']]), ['panel_opened'])
  const intake = new ActivityIntake({
    bus: {
      async publish(_topic, records) {
        published.push(...records)
      },
    },
    types: () => types,
    settings: { batchMax: 10, ownPerMinute: 100, metadataBytesMax: 1_000, futureToleranceMs: 1_000 },
    ...common,
  })
  const seal = new ActivitySeal(log.keys, systemRandom)
  const queries = new ActivityQueries({ database: log.database, seal, log: silentLogger })
  const { url } = await startApiCore({
    database: log.database,
    routes: activityRoutes({ queries, intake, types: () => types }),
  })
  return {
    ...log,
    published,
    run: (args: readonly string[], isInteractive = false) => log.run([...args, '--url', url], {}, isInteractive),
  }
}

const entry = (n: number, more: Partial<CheckedActivity> = {}) =>
  checkedActivity(`evt_${n}`, { atMs: BEGAN_MS + n * 1_000, ...more })

describe('busbar-cloud activity', () => {
  it('lists, shows and exports entries with what is sealed of them, plain in a pipe', async () => {
    const { append, run, dir } = await startApi()
    const odd = { objectType: 'panel', objectId: 'x\u001b[31m', outcome: 'FAILURE' } as const
    await append([
      entry(1),
      entry(2, { userId: 'bob', ...odd }),
      entry(3, {
        ...{ outcome: null, objectId: null, objectType: null, siteId: null },
        ...{ recordedBy: null, source: 'activity-recorder' },
      }),
    ])

    const listed = await run(['list', '--user', 'user123'])
    expect(listed).toEqual({
      code: 0,
      stderr: '',
      stdout:
        `${DAY}T10:00:03.000Z\tuser123\tlogin\t-\t-\t-\t192.0.2.7\t-\tevt_3\n` +
        `${DAY}T10:00:01.000Z\tuser123\tlogin\tSUCCESS\tdevice/INV-001\t1\t192.0.2.7\tuser7\tevt_1\n`,
    })
    expect((await run(['list', '--object-type', 'panel'])).stdout).toContain('\tFAILURE\tpanel/x␛[31m\t')
    expect((await run(['list', '--type', 'login', '--type', 'logout', '--limit', '1'])).stderr).toMatch(
      /^there are more/,
    )
    const narrow = ['--since', `${DAY}T10:00:02Z`, '--until', `${DAY}T10:00:03Z`, '--outcome', 'FAILURE', '--site', '1']
    expect(JSON.parse((await run(['list', ...narrow, '--json'])).stdout)).toMatchObject([{ eventId: 'evt_2' }])
    expect(await run(['list', '--text', 'nowhere'])).toEqual({ code: 0, stdout: '', stderr: 'no entry matches\n' })
    expect((await run(['list'], true)).stdout).toMatch(
      /^TIME +USER +TYPE +OUTCOME +OBJECT +SITE +ADDRESS +TOLD BY +EVENT\n/,
    )

    const shown = (await run(['show', 'evt_1'])).stdout
    expect(shown).toContain('metadata    ipAddress: 192.0.2.7\n')
    expect(shown).toMatch(/\nchain {7}\d{4}-\d\d-\d\d, place 1, hash [0-9a-f]{64}\n$/)
    expect((await run(['show', 'evt_9'])).stderr).toMatch(/^error NOT_FOUND/)

    expect((await run(['export'])).stdout.split('\n').map((line) => line && JSON.parse(line).eventId)).toEqual([
      'evt_3',
      'evt_2',
      'evt_1',
      '',
    ])
    const file = join(dir, 'log.csv')
    const saved = await run(['export', '--format', 'csv', '-o', file, '--user', 'bob'])
    expect(saved).toMatchObject({ code: 0, stdout: '', stderr: expect.stringMatching(/^\d+ B in .*log\.csv\n$/) })
    expect(readFileSync(file, 'utf8')).toMatch(/^timestamp,eventId,.*\r?\n.*,evt_2,bob,/)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const nowhere = await run(['export', '-o', join(dir, 'none', 'x')])
    expect(nowhere).toMatchObject({ code: 1, stderr: expect.stringMatching(/^error FILE_UNWRITABLE/) })
  })

  it('asks for the own entries of whoever may not see those of others', async () => {
    const { run } = await startLog()
    const asked: string[] = []
    const server = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      fetch({ url }) {
        const { pathname, search } = new URL(url)
        asked.push(pathname + search)
        return Response.json(pathname.endsWith('/me') ? { id: 'ann b' } : { items: [], nextCursor: null })
      },
    })
    onTestFinished(() => server.stop(true))
    const url = ['--url', `http://127.0.0.1:${server.port}`]
    expect(await run(['list', '--mine', '--type', 'login', ...url])).toMatchObject({ code: 0 })
    expect(asked).toEqual(['/api/v1/auth/me', '/api/v1/users/ann%20b/activities?activityType=login&limit=50'])
    expect(await run(['list', '--mine', '--user', 'bob', ...url])).toMatchObject({ code: 64 })
  })

  it('records under who one is, and says what the types and the days are', async () => {
    const { append, run, published } = await startApi()
    const made = await run(['record', 'panel_opened', '--object', 'panel/3', '--metadata', 'doors=2', '--at', '1m'])
    expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^evt_[0-9a-f]{24}\n$/) })
    expect(JSON.parse(String(published[0]?.value))).toMatchObject({
      userId: 'ann',
      activityType: 'panel_opened',
      objectType: 'panel',
      objectId: '3',
      outcome: 'SUCCESS',
      metadata: { doors: 2 },
    })
    expect((await run(['record', 'no_such_type', '--user', 'bob'])).stderr).toContain('/activityType')
    expect(await run(['record', 'login', '--metadata', '[1]'])).toMatchObject({ code: 64 })
    expect(published).toHaveLength(1)

    expect((await run(['types'])).stdout).toContain('panel_opened\tconfig\tNamed in activity.types\n')
    await append([entry(1), entry(2)])
    expect((await run(['days'])).stdout).toMatch(new RegExp(`^${DAY}\t2\t[0-9a-f]{64}\t[\\w-]+\t-\n$`))
  })

  it('leaves no file behind when what is exported breaks off, or is not from a core', async () => {
    const { run, dir } = await startLog()
    const file = join(dir, 'log.ndjson')
    writeFileSync(file, 'the one before')
    let page: ReadableStream | string = '<html>'
    const server = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      development: false,
      fetch: () => new Response(page, typeof page === 'string' ? { headers: { 'content-type': 'text/html' } } : {}),
    })
    onTestFinished(() => server.stop(true))
    const save = () => run(['export', '-o', file, '--url', `http://127.0.0.1:${server.port}`])
    expect(await save()).toMatchObject({ code: 1, stderr: expect.stringMatching(/^error API_ANSWER_UNKNOWN/) })
    const chunks = ['{"eventId":"evt_1"}\n'.repeat(10_000), null]
    page = new ReadableStream({
      async pull(controller) {
        const chunk = chunks.shift()
        if (typeof chunk === 'string') controller.enqueue(Buffer.from(chunk))
        else controller.error(new Error('the database is away'))
      },
    })
    expect(await save()).toMatchObject({ code: 1, stderr: expect.stringMatching(/^error DOWNLOAD_CUT/) })
    expect(readFileSync(file, 'utf8')).toBe('the one before')
    expect(existsSync(`${file}.part`)).toBe(false)
  })

  it('follows what is stored, each entry once, and waits for a core that is away', async () => {
    const clock = new ManualClock(BEGAN_MS)
    const { said, terminal } = recorded()
    const stopping = new AbortController()
    let ids: readonly number[] = [1]
    let looks = 0
    let isAway = false
    const following = followActivities({
      api: {
        async list<T>() {
          looks++
          if (isAway) throw new BusbarError('no core answers', { code: 'API_UNREACHABLE', retryable: true })
          const items = ids.map((n) => ({
            eventId: `evt_${n}`,
            timestamp: 't',
            userId: 'u',
            metadata: {},
            outcome: null,
            siteId: null,
            objectType: null,
            objectId: null,
            activityType: 'login',
          }))
          return { items: items as T[], nextCursor: null }
        },
      },
      filter: {},
      json: false,
      ...{ terminal, clock, signal: stopping.signal },
    })
    const look = async () => {
      const before = looks
      await until(() => {
        clock.advance(2_000)
        return looks > before
      })
    }
    await until(() => looks === 1)
    ids = [3, 2, 1]
    await look()
    isAway = true
    await look()
    await look()
    isAway = false
    ids = [4, 3, 2, 1]
    await look()
    await until(() => said.stdout.split('\n').length === 5)
    stopping.abort()
    expect(await following).toBe(0)
    expect(said.stdout.match(/evt_\d/g)).toEqual(['evt_1', 'evt_2', 'evt_3', 'evt_4'])
    expect(said.stderr).toBe('waiting: no core answers\n')
  })
})

describe('busbar-cloud activity verify', () => {
  it('is content with what is as it was written, and says where something is not', async () => {
    const { append, run, dir, clock, database } = await startLog()
    await append([entry(1), entry(2), entry(3)])
    clock.advance(86_400_000)
    await append([entry(4)])
    expect(await run(['verify'])).toMatchObject({
      code: 0,
      stdout: 'ok: 4 entries of 2 days are as they were written\n',
    })
    const report = join(dir, 'report.json')
    writeFileSync(report, (await run(['verify', '--json'])).stdout)
    expect(await run(['verify', '--against', report])).toMatchObject({ code: 0, stderr: '' })

    await database.kysely
      .updateTable('activity_logs')
      .set({ user_id: 'mallory' } as never)
      .where('event_id', '=', 'evt_2')
      .execute()
    const changed = await run(['verify'])
    expect(changed.code).toBe(1)
    expect(changed.stdout).toMatch(new RegExp(`^${DAY}\t2\tENTRY_CHANGED\tevt_2\t.+\n$`))
    expect(changed.stderr).toMatch(/^1 finding on 1 day; 4 entries of 2 days were read\nnext: /)
    expect((await run(['verify'], {}, true)).stdout).toMatch(/^\r.*3 of 4 entries.*DAY +PLACE +FINDING/s)
    expect(await run(['verify', '--to', '2025-02-01'])).toMatchObject({
      ...{ code: 0, stdout: 'nothing to verify: there is no entry, and no day that had some\n', stderr: '' },
    })
    expect(JSON.parse((await run(['verify', '--day', DAY, '--json'])).stdout)).toMatchObject({
      days: [{ day: DAY, findings: 1 }],
      findings: [{ kind: 'ENTRY_CHANGED', place: 2 }],
    })

    // What somebody has put into the database steers no terminal: it could show that all is well.
    await database.kysely
      .updateTable('activity_logs')
      .set({ day: '\u001b[2Kok' } as never)
      .where('event_id', '=', 'evt_3')
      .execute()
    expect((await run(['verify'])).stdout).toContain('\n␛[2Kok\t-\tDAY_CHANGED\t')

    const days = JSON.parse(readFileSync(report, 'utf8')).days as { readonly headHash: string }[]
    writeFileSync(report, JSON.stringify(days.map((day) => ({ ...day, entries: 5 }))))
    expect((await run(['verify', '--against', report, '--from', '2026-02-01'])).stdout).toContain('\tHEAD_MISSING\t')
  })

  it('tells being unable from finding something, and makes neither a database nor a key', async () => {
    const { append, run, dir } = await startLog()
    await append([entry(1)])
    const other = await run(['verify'], { BUSBAR_CLOUD_ACTIVITY_KEYS: Buffer.alloc(32, 9).toString('base64') })
    expect(other).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(/^not verified: .*activity\.keys/),
    })
    const keyFile = join(dir, 'master.key')
    const keyless = { BUSBAR_CLOUD_ACTIVITY_KEYS: '', BUSBAR_CLOUD_IDENTITY_MASTER_KEY_FILE: keyFile }
    expect(await run(['verify'], keyless)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('MASTER_KEY_UNREADABLE'),
    })
    const file = join(dir, 'other.db')
    const elsewhere = await run(['verify'], { BUSBAR_CLOUD_DATABASE_URL: `sqlite:${file}` })
    expect(elsewhere).toMatchObject({ code: 2, stderr: expect.stringContaining('DATABASE_MISSING') })
    expect(existsSync(file)).toBe(false)
    writeFileSync(file, '')
    const empty = await run(['verify'], { BUSBAR_CLOUD_DATABASE_URL: `sqlite:${file}` })
    expect(empty).toMatchObject({ code: 2, stderr: expect.stringContaining('DATABASE_OLDER') })
    expect(existsSync(keyFile)).toBe(false)
    expect(await run(['verify', '--against', file])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('ACTIVITY_REPORT_INVALID'),
    })
    expect(await run(['verify', '--day', '2026-02-30'])).toMatchObject({ code: 64 })
    expect(await run(['verify', '--day', DAY, '--to', DAY])).toMatchObject({ code: 64 })
  })
})
