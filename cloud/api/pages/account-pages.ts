/**
 * The pages on which people log in, set up the first administrator, and choose a password. Text in source files, so that a
 * compiled binary has it; nothing of style or script stands in the pages themselves, and nothing is loaded from elsewhere.
 */

export const ACCOUNT_STYLE_PATH = '/account/page.css'
export const ACCOUNT_SCRIPT_PATH = '/account/page.js'

/** What every browser asks for by itself: three bars. */
export const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#0b57d0"/><path d="M4 3v10M8 3v10M12 3v10" stroke="#fff" stroke-width="2"/></svg>`

export interface AccountPagesOptions {
  /** Whether people can log in at an identity provider. */
  readonly identityProvider: boolean
  /** Characters of the shortest password. */
  readonly passwordLengthMin: number
}

export function loginPage({ identityProvider }: AccountPagesOptions): string {
  const provider = identityProvider
    ? '<p class="or">or</p>\n<p><a class="button" id="provider" href="/api/v1/auth/oidc/start">Log in with your organisation</a></p>'
    : ''
  return page({
    name: 'login',
    title: 'Log in',
    intro: '',
    fields: [
      field('userId', 'User id', 'type="text" autocomplete="username" autocapitalize="none" spellcheck="false"'),
      field('password', 'Password', 'type="password" autocomplete="current-password"'),
    ],
    button: 'Log in',
    after: provider,
  })
}

export function setupPage({ passwordLengthMin }: AccountPagesOptions): string {
  return page({
    name: 'setup',
    title: 'Set up Busbar',
    intro: 'You become the first administrator, who may do everything and lets others in.',
    fields: [
      field(
        'userId',
        'User id',
        'type="text" autocomplete="username" autocapitalize="none" spellcheck="false"',
        'By which you log in; it stays. Letters, digits, dots, hyphens, underscores and @.',
      ),
      field('name', 'Name', 'type="text" autocomplete="name"', 'As others read it; may be left empty.', false),
      ...newPassword(passwordLengthMin),
    ],
    button: 'Set up',
  })
}

export function passwordPage({ passwordLengthMin }: AccountPagesOptions): string {
  return page({
    name: 'password',
    title: 'Choose a password',
    intro: 'The link by which you came here is good once. Wherever you are logged in now, you log in again.',
    // Whose it is, for password managers and for people.
    fields: [
      '<p id="whose" hidden></p>\n<input id="userId" name="userId" type="text" autocomplete="username" hidden readonly>',
      ...newPassword(passwordLengthMin),
    ],
    button: 'Choose',
  })
}

function newPassword(lengthMin: number): string[] {
  const hint = `${lengthMin} characters or more. A few words that do not belong together are easy to keep in mind.`
  return [
    field('password', 'Password', 'type="password" autocomplete="new-password"', hint),
    field('repeated', 'Password again', 'type="password" autocomplete="new-password"'),
  ]
}

function field(name: string, label: string, attributes: string, hint = '', isRequired = true): string {
  const described = hint === '' ? '' : ` aria-describedby="${name}-hint"`
  const shown = hint === '' ? '' : `<p class="hint" id="${name}-hint">${hint}</p>\n`
  const required = isRequired ? ' required' : ''
  return `<p><label for="${name}">${label}</label></p>
${shown}<p><input id="${name}" name="${name}" ${attributes}${required}${described}></p>
<p class="wrong" id="${name}-wrong"></p>`
}

function page(parts: {
  readonly name: string
  readonly title: string
  readonly intro: string
  readonly fields: readonly string[]
  readonly button: string
  readonly after?: string
}): string {
  const { name, title, intro, fields, button, after = '' } = parts
  // A form that a browser without scripts sends anyway goes nowhere, and never into an address.
  return document(
    title,
    `<h1>${title}</h1>
${intro === '' ? '' : `<p>${intro}</p>`}
<p class="notice" id="notice" role="status"></p>
<noscript><p class="problem">This page needs JavaScript. The command line does without: busbar-cloud login.</p></noscript>
<div class="problem" id="problem" role="alert" aria-live="assertive" tabindex="-1"></div>
<form id="form" method="post" data-page="${name}" novalidate>
${fields.join('\n')}
<p><button type="submit">${button}</button></p>
</form>
${after}`,
    `<script src="${ACCOUNT_SCRIPT_PATH}" defer></script>`,
  )
}

/** What went wrong before there was a page to show it on. */
export function problemPage(title: string, detail: string, hint: string | undefined): string {
  return document(
    title,
    `<h1>${escaped(title)}</h1>
<div class="problem" role="alert"><p>${escaped(detail)}</p>${hint === undefined ? '' : `<p>${escaped(hint)}</p>`}</div>
<p><a href="/login">Log in</a></p>`,
    '',
  )
}

function document(title: string, body: string, script: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escaped(title)} · Busbar</title>
<link rel="stylesheet" href="${ACCOUNT_STYLE_PATH}">
${script}
</head>
<body>
<main>
${body}
</main>
</body>
</html>
`
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
