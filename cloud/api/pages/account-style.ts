/** How the pages look on which people log in: from the width of a small telephone on, light and dark. */

export const ACCOUNT_STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; --line: #767676; --accent: #0b57d0; --on-accent: #fff; --bad: #b3261e; --good: #146c2e }
@media (prefers-color-scheme: dark) { :root { --line: #8e918f; --accent: #a8c7fa; --on-accent: #062e6f; --bad: #f2b8b5; --good: #7fd799 } }
* { box-sizing: border-box }
body { margin: 0; padding: 1rem; overflow-wrap: anywhere }
main { max-width: 24rem; margin: 4vh auto }
h1 { font-size: 1.5rem; margin: 0 0 1rem }
p { margin: 0 0 .5rem }
label { font-weight: 600 }
form p:has(> label) { margin: 1rem 0 .25rem }
.hint { font-size: .875rem; margin-top: -.25rem }
input, button, .button { width: 100%; min-height: 44px; padding: .5rem .75rem; font: inherit; border-radius: 8px; border: 1px solid var(--line) }
input[aria-invalid="true"] { border: 2px solid var(--bad) }
button, .button { display: block; font-weight: 600; text-align: center; text-decoration: none; cursor: pointer; border-color: var(--accent) }
button { margin-top: 1.5rem; background: var(--accent); color: var(--on-accent) }
.button { color: var(--accent) }
button[aria-disabled="true"] { opacity: .6; cursor: progress }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
.or { text-align: center; margin: 1rem 0 }
.wrong, .problem { color: var(--bad) }
.wrong { font-size: .875rem; margin: -.25rem 0 0 }
.problem:empty, .notice:empty, .wrong:empty { display: none }
.problem { border: 1px solid; border-radius: 8px; padding: .75rem; margin: 0 0 1rem }
.problem p:last-child { margin: 0 }
.notice { color: var(--good) }
`
