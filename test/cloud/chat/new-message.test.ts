import { describe, expect, it } from 'vitest'
import { invalidMentions, invalidMessage, type NewMessage, storedText } from '../../../cloud/chat/new-message.ts'

const LIMITS = { contentCharsMax: 20, linksMax: 2, mentionsMax: 2 }
const GOOD: NewMessage = { conversationId: 'conv-1', clientMessageId: 'a-1', content: 'Feeder 4 is off' }
const faults = (changes: object) => invalidMessage({ ...GOOD, ...changes }, LIMITS).map(({ pointer }) => pointer)
const link = (url: string, name?: string | null) => ({ links: [{ url, name }] })

describe('what a message may be', () => {
  it('is text of up to so many code units, whatever it looks like', () => {
    for (const content of ['x', 'x'.repeat(20), '😀'.repeat(10), '<script>alert(1)', ' \n x', '%_\\\'";--']) {
      expect(faults({ content })).toEqual([])
    }
  })

  it.each([
    ['', 'empty'],
    [' \t\n\u00a0\u2003', 'white space'],
    ['\u200b\u2060\ufeff\u00ad', 'characters that nobody sees'],
    ['x'.repeat(21), 'too long'],
    ['😀'.repeat(10) + 'x', 'too long in code units'],
    ['a\0b', 'NUL'],
    ['a\ud83d', 'half a character'],
  ])('is not %j: %s', (content) => {
    expect(faults({ content })).toEqual(['/content'])
  })

  it('has a name of its sender that fits in a key', () => {
    for (const clientMessageId of ['', 'a b', 'x'.repeat(65), 'notice/1', 'ä']) {
      expect(faults({ clientMessageId })).toEqual(['/clientMessageId'])
    }
  })

  it('links to http and https, without a password, and to nothing else', () => {
    for (const url of ['https://example.org/a?b=c#d', 'http://10.0.0.1:8080/', 'HTTPS://EXAMPLE.ORG']) {
      expect(faults(link(url, 'Plan'))).toEqual([])
    }
    const bad = ['javascript:alert(1)', 'data:text/html,x', 'ftp://a/b', '/relative', 'https://', 'https://me:pw@a/']
    const worse = ['https://me@a/', ' https://a/', 'https://a/\nb', 'https://a/ b', `https://a/${'x'.repeat(2_048)}`]
    for (const url of [...bad, ...worse, 'https://a/\ud83d']) expect(faults(link(url))).toEqual(['/links/0/url'])
    for (const name of ['', ' ', 'x'.repeat(201), 'a\0']) {
      expect(faults(link('https://a/', name))).toEqual(['/links/0/name'])
    }
    expect(faults(link('https://a/', null))).toEqual([])
  })

  it('is refused with everything that is wrong, each with its value and what it may be', () => {
    const links = [{ url: 'https://a/' }, { url: 'file:///etc/passwd', name: '' }, { url: 'https://c/' }]
    const message = { ...GOOD, clientMessageId: '?', content: 'y'.repeat(500), links, mentions: ['a', 'b', 'c'] }
    const found = invalidMessage(message, LIMITS)
    expect(found.map(({ pointer }) => pointer)).toEqual([
      '/clientMessageId',
      '/content',
      '/links',
      '/links/1/url',
      '/links/1/name',
      '/mentions',
    ])
    expect(found[1]).toMatchObject({ remedy: 'at most 20 characters; this has 500' })
    expect(String(found[1]?.value).length).toBeLessThan(200)
    // Thousands of bad links are not told one by one.
    const many = Array.from({ length: 6_000 }, () => ({ url: '' }))
    expect(faults({ links: many })).toEqual(['/links', '/links/0/url', '/links/1/url'])
    expect(found[5]).toEqual({ pointer: '/mentions', value: 3, remedy: 'at most 2' })
    expect(found[3]).toMatchObject({ value: 'file:///etc/passwd', remedy: expect.stringContaining('http or https') })
  })

  it('mentions members, each once', () => {
    const isMember = (id: string) => id !== 'eve'
    expect(invalidMentions(['ann', 'eve'], isMember)).toMatchObject([{ pointer: '/mentions/1', value: 'eve' }])
    expect(storedText({ content: 'x', mentions: ['b', 'a', 'b'], links: [{ url: 'https://a/' }] })).toEqual({
      mentions: ['b', 'a'],
      links: [{ url: 'https://a/', name: null }],
    })
  })
})
