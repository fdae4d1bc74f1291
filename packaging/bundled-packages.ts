/** Which packages of package-lock.json can be in the binaries, and what each of them needs. */

export interface LockedPackage {
  readonly version?: string
  readonly license?: string
  /** Subresource integrity of the archive. */
  readonly integrity?: string
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly os?: readonly string[]
  readonly cpu?: readonly string[]
  readonly libc?: readonly string[]
}

export interface Lock {
  /** By path, '' for the project itself. */
  readonly packages: Readonly<Record<string, LockedPackage>>
}

/** `@scope/name` of `node_modules/a/node_modules/@scope/name`. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
}

/** Paths of what the project needs, directly or not, with the paths of what each of those needs. */
export function bundledPackages(lock: Lock): Map<string, string[]> {
  const project = lock.packages[''] as LockedPackage
  const found = new Map<string, string[]>()
  const pending = Object.keys(project.dependencies ?? {}).map((name) => resolve(lock, '', name))
  for (const path of pending) {
    if (path === null || found.has(path)) continue
    const { dependencies, optionalDependencies, peerDependencies } = lock.packages[path] as LockedPackage
    // A peer that we have for development alone, such as a compiler, is not bundled.
    const peers = Object.keys(peerDependencies ?? {}).filter((name) => project.devDependencies?.[name] === undefined)
    const names = [...Object.keys({ ...dependencies, ...optionalDependencies }), ...peers]
    const needs = names.flatMap((name) => resolve(lock, path, name) ?? [])
    found.set(path, [...new Set(needs)])
    pending.push(...needs)
  }
  return found
}

/** Where `name` is found from `path`, as a runtime looks for it; null when it is not installed, or for other machines. */
function resolve(lock: Lock, path: string, name: string): string | null {
  for (let from = path; ; from = from.slice(0, Math.max(0, from.lastIndexOf('/node_modules/')))) {
    const candidate = `${from === '' ? '' : `${from}/`}node_modules/${name}`
    const locked = lock.packages[candidate]
    if (locked !== undefined) return fits(locked) ? candidate : null
    if (from === '') return null
  }
}

/** Whether it can run where the binaries do: Linux with glibc on x64 and arm64. */
function fits({ os, cpu, libc }: LockedPackage): boolean {
  const allows = (list: readonly string[] | undefined, ours: readonly string[]) =>
    list === undefined || list.some((each) => ours.includes(each))
  return allows(os, ['linux']) && allows(cpu, ['x64', 'arm64']) && allows(libc, ['glibc'])
}
