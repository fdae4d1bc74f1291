/** A page that shows /openapi.json and /asyncapi.json. Text in a source file, so that a compiled binary has it. */

export const DOCS_STYLE_PATH = '/docs/page.css'
export const DOCS_SCRIPT_PATH = '/docs/page.js'

export const DOCS_STYLE = `
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem; text-transform: capitalize }
details { border: 1px solid #8886; border-radius: 6px; margin: .4rem 0; padding: .4rem .8rem }
summary { cursor: pointer }
code, pre { font: 13px/1.5 ui-monospace, monospace }
pre { overflow: auto; background: #8881; padding: .6rem; border-radius: 6px }
.method { display: inline-block; width: 4rem; font-weight: 700 }
.permission { float: right; opacity: .7 }
table { border-collapse: collapse } td, th { text-align: left; vertical-align: top; padding: .15rem .8rem .15rem 0 }
`

// Everything is set as text, never as HTML: what the documents hold cannot become part of the page.
export const DOCS_SCRIPT = `
const element = (name, attributes, ...children) => {
  const made = Object.assign(document.createElement(name), attributes)
  made.append(...children)
  return made
}
const json = (value) => element('pre', {}, JSON.stringify(value, null, 2))
const permissionText = (permission) =>
  typeof permission === 'object' ? permission.role + ', ' + permission.scope : 'no permission needed'
const schemaOf = (content) => Object.entries(content ?? {}).map(([type, { schema }]) => element('div', {}, type, json(schema)))

const operation = (method, path, details) => {
  const body = [
    element('p', {}, details.description ?? ''),
    element('table', {}, ...(details.parameters ?? []).map((parameter) => element('tr', {},
      element('td', {}, element('code', {}, parameter.name)),
      element('td', {}, parameter.in + (parameter.required ? ', required' : '')),
      element('td', {}, parameter.description ?? ''),
      element('td', {}, element('code', {}, JSON.stringify(parameter.schema)))))),
  ]
  if (details.requestBody) body.push(element('h4', {}, 'Body'), ...schemaOf(details.requestBody.content))
  for (const [status, response] of Object.entries(details.responses)) {
    body.push(element('details', {}, element('summary', {}, status + ' ' + response.description), ...schemaOf(response.content)))
  }
  return element('details', { id: details.operationId },
    element('summary', {},
      element('span', { className: 'method' }, method.toUpperCase()),
      element('code', {}, path), ' ', details.summary,
      element('span', { className: 'permission' }, permissionText(details['x-permission']))),
    ...body)
}

const named = (title, entries) => [element('h2', {}, title), ...Object.entries(entries).map(([name, value]) =>
  element('details', {}, element('summary', {}, element('code', {}, name), ' ', value.summary ?? value.description ?? ''), json(value)))]

const show = async () => {
  const [rest, live] = await Promise.all(['/openapi.json', '/asyncapi.json'].map(async (url) => (await fetch(url)).json()))
  const main = document.querySelector('main')
  main.append(element('p', {}, rest.info.description))
  for (const { name } of rest.tags) {
    main.append(element('h2', {}, name))
    for (const [path, operations] of Object.entries(rest.paths)) {
      for (const [method, details] of Object.entries(operations)) {
        if (details.tags.includes(name)) main.append(operation(method, path, details))
      }
    }
  }
  main.append(...named('schemas', rest.components.schemas))
  main.append(...named('channels', live.channels), ...named('messages', live.components.messages))
}
show().catch((error) => document.querySelector('main').append('The documents could not be loaded: ' + error.message))
`

export const DOCS_PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Busbar API</title>
<link rel="stylesheet" href="${DOCS_STYLE_PATH}">
<script src="${DOCS_SCRIPT_PATH}" defer></script>
</head>
<body>
<h1>Busbar API</h1>
<p><a href="/openapi.json">openapi.json</a> · <a href="/asyncapi.json">asyncapi.json</a></p>
<main></main>
</body>
</html>
`
