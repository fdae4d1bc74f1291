/** The descriptions of the API for programs and people; nothing is loaded from elsewhere. */

import { Type } from '@sinclair/typebox'
import { asyncApiDocument } from '../documents/asyncapi.ts'
import { DOCS_PAGE, DOCS_SCRIPT, DOCS_SCRIPT_PATH, DOCS_STYLE, DOCS_STYLE_PATH } from '../documents/docs-page.ts'
import { openApiDocument } from '../documents/openapi.ts'
import { defineRoute, type Route, type RouteDeclaration } from '../http/route.ts'

const AnyObject = Type.Object({})

/** @param others the routes to describe besides these. */
export function documentRoutes(others: readonly RouteDeclaration[], version: string): Route[] {
  const common = { method: 'GET', tag: 'documents', permission: 'none' } as const
  const routes: Route[] = []
  // Made once, when first asked for: they never change while the process runs.
  let openApi: string | undefined
  let asyncApi: string | undefined
  routes.push(
    defineRoute(
      {
        ...common,
        path: '/openapi.json',
        operationId: 'getOpenApi',
        summary: 'This document',
        responses: { 200: { description: 'OpenAPI 3.1', schema: AnyObject } },
      },
      () => {
        openApi ??= JSON.stringify(openApiDocument([...others, ...routes], version))
        return jsonText(openApi)
      },
    ),
    defineRoute(
      {
        ...common,
        path: '/asyncapi.json',
        operationId: 'getAsyncApi',
        summary: 'The WebSocket and the topics of the bus',
        responses: { 200: { description: 'AsyncAPI 3.0', schema: AnyObject } },
      },
      () => {
        asyncApi ??= JSON.stringify(asyncApiDocument(version))
        return jsonText(asyncApi)
      },
    ),
    defineRoute(
      {
        ...common,
        path: '/docs',
        operationId: 'getDocs',
        summary: 'The documents to read in a browser',
        responses: { 200: { description: 'A page', schema: Type.String(), mediaType: 'text/html' } },
      },
      () => file(DOCS_PAGE, 'text/html'),
    ),
    defineRoute(
      {
        ...common,
        path: DOCS_STYLE_PATH,
        operationId: 'getDocsStyle',
        summary: 'How that page looks',
        responses: { 200: { description: 'A style sheet', schema: Type.String(), mediaType: 'text/css' } },
      },
      () => file(DOCS_STYLE, 'text/css'),
    ),
    defineRoute(
      {
        ...common,
        path: DOCS_SCRIPT_PATH,
        operationId: 'getDocsScript',
        summary: 'What that page does',
        responses: { 200: { description: 'A script', schema: Type.String(), mediaType: 'text/javascript' } },
      },
      () => file(DOCS_SCRIPT, 'text/javascript'),
    ),
  )
  return routes
}

function file(text: string, mediaType: string): Response {
  return new Response(text, { headers: { 'content-type': `${mediaType}; charset=utf-8`, 'cache-control': 'no-cache' } })
}

function jsonText(text: string): Response {
  return new Response(text, { headers: { 'content-type': 'application/json' } })
}
