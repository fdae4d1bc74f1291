/** The command line against a real API, in this process and as the program. */

import { describe, expect, it, onTestFinished } from 'vitest'
import { deadLetterRoutes } from '../../../cloud/api/routes/dead-letters.ts'
import { cloudCommandLine } from '../../../cloud/cli/program.ts'
import { openDatabase } from '../../../cloud/database/database.ts'
import { paintWith } from '../../../shared/cli/terminal.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { startApiCore } from '../../support/api-core.ts'
import { busbar } from '../../support/command.ts'
import { deadLetterCore } from '../../support/dead-letter-core.ts'

const letter = (key: string, code: string, message = 'why', topic = 'chat-messages') => ({
  key,
  value: `{"n":1.0,"error":{"code":"${code}","message":${JSON.stringify(message)},"timestamp":"2026-01-02T03:04:05.000Z","retryCount":3}}`,
  headers: { source: 'communication-service-group', originalTopic: topic },
})

async function start() {
  const database = openDatabase({ url: 'memory:', clock: systemClock, log: silentLogger })
  onTestFinished(() => database.stop())
  await database.start()
  const core = await deadLetterCore(database)
  const { url } = await startApiCore({ database, routes: deadLetterRoutes({ deadLetters: core.deadLetters }) })
  const run = async (args: readonly string[], isInteractive = false) => {
    let stdout = ''
    let stderr = ''
    const terminal = {
      out: (text: string) => {
        stdout += text
      },
      err: (text: string) => {
        stderr += text
      },
      isInteractive,
      columns: 100,
      paint: paintWith(isInteractive),
    }
    const line = cloudCommandLine(terminal, {})
    const code = await line.run(['bun', 'busbar-cloud', 'dead-letters', ...args, '--url', url])
    return { code, stdout, stderr }
  }
  return { ...core, url, run }
}

describe('busbar-cloud dead-letters', () => {
  it('lists, counts and shows them, plain in a pipe', async () => {
    const { add, run, url } = await start()
    await add('chat-messages-dlt', [letter('a', 'X'), letter('b', 'Y', 'a\ttab\nand \u001b[31m red')])
    const env = { BUSBAR_CLOUD_URL: url }
    const listed = await busbar('cloud', ['dead-letters', 'list', '--code', 'X', '--since', '1h'], { env })
    expect(listed).toMatchObject({ code: 0, stderr: '' })
    expect(listed.stdout).toMatch(
      /^chat-messages-dlt\.\d\.\d\tX\ta\tcommunication-service-group\t2026-01-02T03:04:05\.000Z\t-\twhy\n$/,
    )
    const [id = ''] = listed.stdout.split('\t')
    expect(JSON.parse((await run(['list', '--json'])).stdout)).toHaveLength(2)
    expect((await run(['list', '--key', 'b'])).stdout).toContain('\ta\ufffdtab\ufffdand \ufffd[31m red\n')
    expect((await run(['list', '--limit', '1'])).stderr).toBe('there are more: --limit shows them\n')
    expect(await run(['list', '--until', '2020-01-01T00:00:00Z'])).toEqual({
      code: 0,
      stdout: '',
      stderr: 'no dead letter matches\n',
    })
    expect((await run(['list'], true)).stdout).toMatch(/^.\[2mDEAD LETTER {8,}CODE/)
    expect((await run(['summary'])).stdout).toMatch(/^chat-messages\tX\t1\t0\t/)
    const shown = await run(['show', id])
    expect(shown.stdout).toContain('error     X: why\n')
    expect(shown.stdout).toMatch(/\nheader {4}originalTopic: chat-messages\nvalue {5}9 B\n\{"n":1\.0\}\n$/)
    expect(JSON.parse((await run(['show', id, '--json'])).stdout)).toMatchObject({ id, value: { text: '{"n":1.0}' } })
    const unknown = await run(['show', 'chat-messages-dlt.0.99'])
    expect(unknown).toMatchObject({ code: 1, stdout: '' })
    expect(unknown.stderr).toContain('error NOT_FOUND: There is no dead letter chat-messages-dlt.0.99')
  })

  it('replays by ids and by what is known of them, and changes nothing in a dry run', async () => {
    const { add, run, deadLetters } = await start()
    const many = Array.from({ length: 230 }, () => letter('a', 'X'))
    await add('chat-messages-dlt', [...many, letter('b', 'Y', 'why', 'no-such-topic')])
    const dry = await run(['replay', '--code', 'X', '--dry-run'])
    expect(dry).toMatchObject({ code: 0, stderr: '230 would be replayed; nothing was changed\n' })
    expect(dry.stdout.split('\n')[0]).toMatch(/^chat-messages-dlt\.\d\.0\twould be replayed\tchat-messages\ta\t9\t-$/)
    expect(dry.stdout.split('\n')).toHaveLength(231)
    expect((await deadLetters.list({ replayed: true })).items).toEqual([])

    const { items } = await deadLetters.list({ code: 'X', limit: 2 })
    const ids = items.map((each) => each.id)
    const both = await run(['replay', ...ids])
    expect(both).toMatchObject({ code: 0, stderr: '2 replayed\n' })
    expect(await run(['replay', ...ids])).toMatchObject({ code: 0, stderr: '2 skipped\n' })
    expect(await run(['replay', ids[0] as string, '--again'])).toMatchObject({ code: 0, stderr: '1 replayed\n' })

    const all = await run(['replay', '--all'], true)
    expect(all.code).toBe(1)
    expect(all.stdout).toContain('100 of 229 dead letters')
    expect(all.stdout).toContain('229 of 229 dead letters\n')
    expect(all.stdout).toMatch(/refused.*TOPIC_UNKNOWN: no-such-topic/)
    expect(all.stderr).toMatch(/228 replayed.*1 refused.*\n.*next:.* mend/)
    expect(await run(['replay', '--code', 'X'])).toEqual({ code: 0, stdout: '', stderr: 'no dead letter matches\n' })
    const json = await run(['replay', '--all', '--json'])
    expect(json.code).toBe(1)
    expect(JSON.parse(json.stdout)).toMatchObject({ dryRun: false, results: [{ outcome: 'REFUSED' }] })
  })

  it('says how it is used, and what to do next', async () => {
    const { run } = await start()
    const nothing = await run(['replay'])
    expect(nothing.code).toBe(64)
    expect(nothing.stderr).toMatch(/^error USAGE: which dead letters\?\nnext: .*--all/)
    expect((await run(['replay', 'a.0.0', '--all'])).code).toBe(64)
    expect((await run(['list', '--since', 'soon'])).code).toBe(64)
    expect(await run(['replay', 'a.0.0'])).toMatchObject({ code: 1, stderr: expect.stringContaining('1 not found') })
    expect((await run(['replay', '--help'])).stdout).toContain('--code UNKNOWN_DEVICE --dry-run')
  })
})
