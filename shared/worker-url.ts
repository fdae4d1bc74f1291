/**
 * Where a worker thread's entry module lies, in sources and in a compiled binary.
 *
 * A compiled binary holds the worker only when the build names it as an extra entry point, and finds it by its path
 * below the build's root: `bun build --compile --root . edge/main.ts edge/spool/worker.ts` with the repository as root.
 */

/** Modules of a compiled binary live in Bun's virtual file system. */
export function isCompiled(): boolean {
  return import.meta.url.startsWith('file:///$bunfs/')
}

/** @param path of the entry module from the root of the repository, such as `edge/spool/worker.ts`. */
export function workerUrl(path: string): URL {
  return new URL(path, isCompiled() ? 'file:///$bunfs/root/' : new URL('..', import.meta.url))
}
