/** The pages on which people log in, set up the first administrator, and choose a password. */

import { Type } from '@sinclair/typebox'
import { defineRoute, type Route } from '../http/route.ts'
import {
  ACCOUNT_SCRIPT_PATH,
  ACCOUNT_STYLE_PATH,
  type AccountPagesOptions,
  ICON,
  loginPage,
  passwordPage,
  setupPage,
} from '../pages/account-pages.ts'
import { ACCOUNT_SCRIPT } from '../pages/account-script.ts'
import { ACCOUNT_STYLE } from '../pages/account-style.ts'

/** What never changes while a core runs may be kept for a while. */
const KEPT = 'public, max-age=300'

export function pageRoutes(options: AccountPagesOptions): Route[] {
  const page = (path: string, operationId: string, summary: string, text: string) =>
    file({ path, operationId, summary, text, mediaType: 'text/html', kept: 'no-store' })
  return [
    page('/login', 'getLoginPage', 'Where people log in', loginPage(options)),
    page(
      '/setup',
      'getSetupPage',
      'Where the first administrator is made, by the link that is printed',
      setupPage(options),
    ),
    page('/password', 'getPasswordPage', 'Where a user chooses a password, by a link', passwordPage(options)),
    file({
      path: ACCOUNT_STYLE_PATH,
      operationId: 'getAccountStyle',
      summary: 'How these pages look',
      text: ACCOUNT_STYLE,
      mediaType: 'text/css',
      kept: KEPT,
    }),
    file({
      path: ACCOUNT_SCRIPT_PATH,
      operationId: 'getAccountScript',
      summary: 'What these pages do',
      text: ACCOUNT_SCRIPT,
      mediaType: 'text/javascript',
      kept: KEPT,
    }),
    file({
      path: '/favicon.ico',
      operationId: 'getIcon',
      summary: 'What browsers show beside the title of every page',
      text: ICON,
      mediaType: 'image/svg+xml',
      kept: KEPT,
    }),
  ]
}

function file(options: {
  readonly path: string
  readonly operationId: string
  readonly summary: string
  readonly text: string
  readonly mediaType: string
  readonly kept: string
}): Route {
  const { path, operationId, summary, text, mediaType, kept } = options
  return defineRoute(
    {
      method: 'GET',
      path,
      operationId,
      tag: 'pages',
      summary,
      permission: 'none',
      responses: { 200: { description: 'A file', schema: Type.String(), mediaType } },
    },
    () => new Response(text, { headers: { 'content-type': `${mediaType}; charset=utf-8`, 'cache-control': kept } }),
  )
}
