/** The library that makes certificates, loaded when it is first needed: few commands do. */

import type * as library from '@peculiar/x509'

export type X509 = typeof library

let loading: Promise<X509> | null = null

export function loadX509(): Promise<X509> {
  loading ??= load()
  return loading
}

async function load(): Promise<X509> {
  // Its dependency injection looks for metadata of decorators and will not load where nobody could have stored any. It
  // needs none, so the answer may be that there is none. Bun runs an imported CommonJS module before the modules that
  // stand above it, so only a dynamic import comes late enough.
  const reflection = Reflect as typeof Reflect & Record<'getMetadata' | 'getOwnMetadata', (() => undefined) | undefined>
  reflection.getMetadata ??= () => undefined
  reflection.getOwnMetadata ??= () => undefined
  return await import('@peculiar/x509')
}
