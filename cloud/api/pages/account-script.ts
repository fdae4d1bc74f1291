/** What the pages do on which people log in. Everything is set as text, never as HTML: an answer cannot become part of the page. */

export const ACCOUNT_SCRIPT = `
'use strict'
const form = document.getElementById('form')
const problem = document.getElementById('problem')
const button = form.querySelector('button')
const page = form.dataset.page
const query = new URLSearchParams(location.search)

// What makes the link good is behind the #, which no browser sends; it goes from the address as soon as it is read.
const [token = '', whose = ''] = location.hash.slice(1).split('&')
if (token !== '') history.replaceState(null, '', location.pathname)

// A page of ours to go on to: nobody is led elsewhere by a link to this one.
const next = () => {
  const to = query.get('to') ?? ''
  if (!/^\\/(?![\\/\\\\])/.test(to)) return '/docs'
  const url = URL.canParse(to, location.origin) ? new URL(to, location.origin) : null
  // Dots within may have stood for nothing: what is left of /.//evil.example names a host.
  if (url?.origin !== location.origin || url.pathname.startsWith('//')) return '/docs'
  return url.pathname + url.search + url.hash
}

const decoded = (text) => {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}
const paragraph = (text) => Object.assign(document.createElement('p'), { textContent: text })
const show = (...texts) => {
  problem.replaceChildren(...texts.filter((text) => text).map(paragraph))
  if (texts.length > 0) problem.focus()
}
const mark = (name, text) => {
  const input = form.elements[name]
  document.getElementById(name + '-wrong').textContent = text
  if (text === '') input.removeAttribute('aria-invalid')
  else input.setAttribute('aria-invalid', 'true')
  const hint = document.getElementById(name + '-hint')
  const described = [hint && hint.id, text !== '' && name + '-wrong'].filter(Boolean).join(' ')
  if (described === '') input.removeAttribute('aria-describedby')
  else input.setAttribute('aria-describedby', described)
}
const inputs = [...form.querySelectorAll('input:not([hidden])')]

// What is wrong with what was typed; the first wrong field gets the focus.
const check = () => {
  for (const { name } of inputs) mark(name, '')
  const missing = inputs.filter((input) => input.required && input.value === '')
  for (const { name } of missing) mark(name, 'Required.')
  const { password, repeated } = form.elements
  const differs = repeated !== undefined && repeated.value !== '' && password.value !== repeated.value
  if (differs) mark('repeated', 'This is not the same password.')
  const wrong = missing[0] ?? (differs ? repeated : undefined)
  wrong?.focus()
  return wrong === undefined
}

const explain = async (response) => {
  const answer = await response.json().catch(() => ({}))
  const seconds = Number(response.headers.get('retry-after'))
  const others = []
  for (const { pointer, remedy } of answer.errors ?? []) {
    const name = pointer.slice(1)
    if (inputs.some((input) => input.name === name)) mark(name, 'It must be: ' + remedy + '.')
    else others.push(name + ' must be: ' + remedy)
  }
  const wait = response.status === 429 && seconds > 0 ? 'Wait ' + seconds + ' s, then try again.' : answer.hint
  show(answer.detail ?? 'The server answers ' + response.status + '.', ...others, wait)
}

const post = async (path, body) => {
  const headers = { 'content-type': 'application/json' }
  try {
    const response = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body), credentials: 'same-origin' })
    if (response.ok) return true
    await explain(response)
  } catch {
    show('The server does not answer.', 'See that you are online, then try again.')
  }
  return false
}

const actions = {
  async login({ userId, password }) {
    if (await post('/api/v1/auth/login', { userId, password, cookies: true })) location.replace(next())
  },
  async setup({ userId, name, password }) {
    const body = { token, userId, password, ...(name === '' ? {} : { name }) }
    if (await post('/api/v1/auth/setup', body)) location.replace('/login?done=setup')
  },
  async password({ password }) {
    if (await post('/api/v1/auth/password', { token, password })) location.replace('/login?done=password')
  },
}

let busy = false
form.addEventListener('submit', async (event) => {
  event.preventDefault()
  if (busy) return
  show()
  if (!check()) return
  busy = true
  // Not disabled: that would take the focus away from who works by keyboard.
  button.setAttribute('aria-disabled', 'true')
  try {
    await actions[page](Object.fromEntries(new FormData(form)))
  } finally {
    busy = false
    button.removeAttribute('aria-disabled')
  }
})

const NOTICES = {
  setup: 'You are the administrator now. Log in to go on.',
  password: 'The password is chosen. Log in with it.',
}
if (page === 'password' && /^[\\w.@:%-]{1,400}$/.test(whose)) {
  const name = decoded(whose)
  form.elements.userId.value = name
  Object.assign(document.getElementById('whose'), { textContent: 'For ' + name, hidden: false })
}
if (page === 'login' || token !== '') inputs[0].focus()
if (page === 'login') {
  document.getElementById('notice').textContent = Object.hasOwn(NOTICES, query.get('done')) ? NOTICES[query.get('done')] : ''
  const provider = document.getElementById('provider')
  if (provider !== null) provider.search = new URLSearchParams({ return_to: next() }).toString()
} else if (token === '') {
  form.hidden = true
  show('This page is opened by a link that is good once, and the link is not complete.',
    page === 'setup' ? 'Open the one that the core printed; busbar-cloud setup-link makes a new one.' : 'Ask an administrator for a new one.')
}
`
