/** The real program against a real core: people who talk, one of them by a script. */

import { type ChildProcess, spawn } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { bunPath, projectDir } from '../../support/child.ts'
import { type CloudProcess, startCloud } from '../../support/cloud-process.ts'
import { busbar } from '../../support/command.ts'
import { until } from '../../support/until.ts'

interface Follower {
  readonly lines: string[]
  readonly notes: () => string
  /** Resolves with the exit status. */
  interrupt(): Promise<number | null>
}

const CONVERSATION = /^conv-[0-9a-f]{24}\n$/

describe('busbar-cloud chat', { timeout: 60_000 }, () => {
  let cloud: CloudProcess

  const chat = (as: string, ...args: string[]) =>
    busbar('cloud', ['chat', ...args, '--as', as], { env: { BUSBAR_CLOUD_URL: cloud.apiUrl } })
  const begin = async (as: string, ...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await chat(as, 'start', ...args)
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: expect.stringMatching(CONVERSATION) })
    return stdout.trim()
  }
  const follow = (as: string, ...args: string[]): Follower => {
    const command = [join(projectDir, 'cloud', 'main.ts'), 'chat', 'follow', ...args, '--as', as]
    const child: ChildProcess = spawn(bunPath, command, {
      env: { ...process.env, BUSBAR_CLOUD_URL: cloud.apiUrl },
      // Whatever is typed is not read.
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const lines: string[] = []
    let [partial, notes] = ['', '']
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const split = (partial + text).split('\n')
      partial = split.pop() ?? ''
      lines.push(...split)
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      notes += text
    })
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    return {
      lines,
      notes: () => notes,
      interrupt: () => {
        child.kill('SIGINT')
        return ended
      },
    }
  }
  /** Says the same again and again until who follows is there. */
  const heard = async (as: string, id: string, follower: Follower): Promise<void> => {
    await until(
      async () => {
        await chat(as, 'send', id, 'are you there?')
        return follower.lines.some((line) => line.includes('are you there?'))
      },
      { what: follower.notes() },
    )
  }

  beforeAll(async () => {
    cloud = await startCloud()
  }, 60_000)
  afterAll(async () => {
    await cloud?.kill('SIGKILL')
    if (cloud !== undefined) await rm(cloud.dir, { recursive: true, force: true })
  })

  it('begins a conversation, says something once however often a script repeats it, and shows what is not read', async () => {
    const id = await begin('ann', 'ben')
    expect(await begin('ben', 'ann')).toBe(id)
    const send = ['send', id, '--client-id', 'shift-1', 'Feeder 3', 'is \u001b[31mopen']
    const [first, second] = [await chat('ann', ...send), await chat('ann', ...send)]
    expect(first.stdout).toMatch(/^msg-[0-9a-f]{24}\n$/)
    expect(second).toEqual(first)

    const listed = await chat('ben', 'list')
    expect(listed.stdout).toMatch(
      new RegExp(`^${id}\\tdirect\\tann\\t1\\t[\\dT:.Z-]+\\tann: Feeder 3 is ␛\\[31mopen\\n$`),
    )
    expect(await chat('ben', 'read', id)).toMatchObject({ code: 0 })
    expect(JSON.parse((await chat('ben', 'list', '--json')).stdout)).toMatchObject([{ unreadCount: 0 }])
    const history = await chat('ann', 'history', id)
    expect(history.stdout).toMatch(/\t\*\tann began the conversation.*\n.*\tann\tFeeder 3 is ␛\[31mopen\n$/)
    expect((await chat('ann', 'history', id, '--search', 'feeder', '--json')).stdout).toContain('"status":"READ"')

    expect((await chat('ann', 'people')).stdout).toMatch(/^ben\t-\toffline\t-$/m)

    const other = await chat('eve', 'history', id)
    expect(other).toMatchObject({ code: 1, stdout: '' })
    expect(other.stderr).toMatch(/^error CONVERSATION_UNKNOWN: .*\nnext: /)
    expect(await chat('ann', 'start', 'ben', 'cleo')).toMatchObject({ code: 64 })
    for (const command of [['list'], ['follow']]) {
      const nobody = await busbar('cloud', ['chat', ...command], { env: { BUSBAR_CLOUD_URL: cloud.apiUrl, USER: '' } })
      expect(nobody).toMatchObject({ code: 64, stdout: '' })
      expect(nobody.stderr).toMatch(/^error USAGE: nobody logs in .*\nnext: .*--as/)
    }
  })

  it('changes and deletes what was said, by its number, and shows who has read it', async () => {
    const id = await begin('ann', '--title', 'Feeders', 'ben')
    const say = ['Feeder 3 is open', '--mention', 'ben', '--link', 'https://plans.example/3']
    const sent = (await chat('ann', 'send', id, ...say)).stdout.trim()
    expect(await chat('ann', 'edit', id, '2', 'Feeder 3', 'is shut')).toMatchObject({ code: 0 })
    expect((await chat('ben', 'history', id)).stdout).toMatch(
      /\t2\tann\tFeeder 3 is shut <https:\/\/plans\.example\/3> @ben \(edited\)\n$/,
    )
    expect((await chat('ann', 'receipts', id, sent)).stdout).toBe('ben\tsent\n')
    await chat('ben', 'read', id)
    expect((await chat('ann', 'receipts', id, '2')).stdout).toBe('ben\tread\n')
    expect((await chat('ben', 'delete', id, '2')).stderr).toMatch(/^error MESSAGE_NOT_YOURS/)
    expect(await chat('ann', 'delete', id, '2')).toMatchObject({ code: 0 })
    expect((await chat('ann', 'edit', id, '9', 'x')).stderr).toMatch(/^error MESSAGE_UNKNOWN: .* 9\nnext: /)
    expect((await chat('ann', 'delete', id, 'it')).stderr).toMatch(/^error USAGE: "it" names no message\n/)
    expect((await chat('ann', 'rename', id, 'All feeders')).stderr).toBe('it is All feeders\n')
    expect(await chat('ann', 'role', id, 'ben', 'owner')).toMatchObject({ code: 0 })
    const last = (await chat('ben', 'history', id, '--limit', '3')).stdout
    expect(last).toMatch(/\t\*\tann: message 2 was deleted\n.*"All feeders"\n.*ann made ben owner\n$/)
    expect((await chat('ben', 'history', id, '--search', 'shut')).stderr).toBe('nothing was found\n')
  })

  it('shows who is in a group, and changes that until it is archived', async () => {
    const id = await begin('ann', '--title', 'Night shift', 'ben', 'cleo')
    expect(await chat('ann', 'add', id, 'dan')).toMatchObject({ code: 0, stderr: 'added dan\n' })
    expect(await chat('ann', 'add', id, 'dan')).toMatchObject({ code: 0, stderr: 'they are in it already\n' })
    expect(await chat('ann', 'remove', id, 'cleo')).toMatchObject({ code: 0 })
    expect(await chat('ben', 'leave', id)).toMatchObject({ code: 0 })
    const members = await chat('dan', 'members', id)
    expect(members.stdout).toMatch(/^ann\t-\towner\t.*\ndan\t-\tmember\t.*\n$/)
    expect(await chat('ann', 'archive', id)).toMatchObject({ code: 0 })
    const input = 'from standard input\n'
    const env = { BUSBAR_CLOUD_URL: cloud.apiUrl }
    const send = ['chat', 'send', id, '-', '--as', 'dan']
    const refused = await busbar('cloud', send, { env, input })
    expect(refused.stderr).toMatch(/^error CONVERSATION_ARCHIVED/)
    const talkedInVain = await busbar('cloud', ['chat', 'talk', id, '--as', 'dan'], { env, input })
    expect(talkedInVain.code).toBe(1)
    expect(talkedInVain.stderr).toMatch(/^error CONVERSATION_ARCHIVED.*\n(?:.*\n)*was not sent: from standard input\n$/)
    expect(await chat('eve', 'talk', id)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^error CONVERSATION_UNKNOWN/),
    })
    expect(await chat('ann', 'reopen', id)).toMatchObject({ code: 0 })
    expect(await busbar('cloud', send, { env, input })).toMatchObject({ code: 0 })
    const talked = await busbar('cloud', ['chat', 'talk', id, '--as', 'dan'], {
      env,
      input: 'line by line\n\nto the end',
    })
    expect(talked).toMatchObject({ code: 0, stderr: '' })
    const last = (await chat('ann', 'history', id, '--limit', '3')).stdout
    expect(last).toMatch(/\tdan\tfrom standard input\n.*\tdan\tline by line\n.*\tdan\tto the end\n$/)
  })

  it('follows what is said over the death of the core: nothing twice, nothing missing, and ends well on Ctrl-C', async () => {
    const id = await begin('ann', '--title', 'Storm', 'ben', 'cleo')
    const [ben, cleo] = [follow('ben', id), follow('cleo', '--json')]
    await Promise.all([ben, cleo].map((each) => heard('ann', id, each)))
    await chat('ann', 'send', id, 'before')
    // What a core was publishing when it died waits for a while, longer than this test would.
    await until(() => [ben, cleo].every(({ lines }) => lines.some((line) => line.includes('before'))))
    await cloud.kill('SIGKILL')
    await until(() => ben.notes().includes('not connected') && cleo.notes().includes('not connected'))
    await cloud.restart()
    await chat('ann', 'send', id, 'after')
    await until(() => [ben, cleo].every(({ lines }) => lines.some((line) => line.includes('after'))))
    expect(ben.lines.filter((line) => /\tann\t(before|after)$/.test(line)).map((line) => line.split('\t')[4])).toEqual([
      'before',
      'after',
    ])
    const numbers = ben.lines.map((line) => Number(line.split('\t')[2]))
    expect(numbers).toEqual(numbers.map((_, i) => (numbers[0] as number) + i))
    const events = cleo.lines.map((line) => JSON.parse(line) as { event: string; position: number })
    expect(events.filter(({ event }) => event === 'message').map(({ position }) => position)).toEqual(
      expect.arrayContaining(numbers.slice(-2)),
    )
    expect(ben.notes()).toContain('connected again')
    expect(await Promise.all([ben.interrupt(), cleo.interrupt()])).toEqual([0, 0])
  })
})
