/** Schemas of the keys that a config is made of, so that the config itself reads as a list of names and meanings. */

import { type TObject, type TProperties, type TUnsafe, Type } from '@sinclair/typebox'

/** Inclusive range. */
type Range = readonly [minimum: number, maximum: number]

export function section<P extends TProperties>(description: string, properties: P): TObject<P> {
  return Type.Object(properties, { description })
}

export function flag(value: boolean, description: string) {
  return Type.Boolean({ default: value, description })
}

export function text(value: string, description: string, expects?: string, pattern?: string) {
  return Type.String({ default: value, description, ...(expects && { expects }), ...(pattern && { pattern }) })
}

/** A string without a default; `sample` stands in the example. */
export function requiredText(sample: string, description: string, expects: string, pattern: string) {
  return Type.String({ sample, description, expects, pattern })
}

/**
 * A string that is never printed. It may also be in a file of its own, which the key with `File` after it names, as
 * `passwordFile` does for `password`: the loader reads that, and the config has only the string.
 * @param secretWhen pattern of the values that are secret, where some may be seen by anyone. Default: all but the empty one.
 */
export function secretText(
  value: string,
  description: string,
  expects: string,
  pattern?: string,
  secretWhen: string = '.',
) {
  return Type.String({ default: value, description, expects, secret: true, secretWhen, ...(pattern && { pattern }) })
}

/** Path of a file; empty means none. */
export function file(description: string) {
  return Type.String({ default: '', description, expects: 'the path of a file, or "" for none' })
}

/** Path of a directory. */
export function directory(value: string, description: string) {
  return Type.String({ default: value, minLength: 1, description, expects: 'the path of a directory' })
}

/** Address to listen on. */
export function host(value: string, description: string) {
  return Type.String({ default: value, minLength: 1, description, expects: 'a host name or IP address' })
}

/** Port to listen on. */
export function port(value: number, description: string) {
  return Type.Integer({
    default: value,
    minimum: 0,
    maximum: 65_535,
    description: `${description}; 0 takes a free one`,
  })
}

export function milliseconds(value: number, [minimum, maximum]: Range, description: string) {
  return Type.Integer({ default: value, minimum, maximum, unit: 'milliseconds', description })
}

export function bytes(value: number, [minimum, maximum]: Range, description: string) {
  return Type.Integer({ default: value, minimum, maximum, unit: 'bytes', description })
}

/** A number of things, named by `unit`. */
export function count(value: number, [minimum, maximum]: Range, unit: string, description: string) {
  return Type.Integer({ default: value, minimum, maximum, unit, description })
}

export function fraction(value: number, [minimum, maximum]: Range, description: string) {
  return Type.Number({ default: value, minimum, maximum, description })
}

export function choice<const C extends readonly string[]>(
  value: C[number],
  choices: C,
  description: string,
): TUnsafe<C[number]> {
  const options = { default: value, description }
  return Type.Unsafe<C[number]>(
    Type.Union(
      choices.map((name) => Type.Literal(name)),
      options,
    ),
  )
}

export function list(value: readonly string[], description: string, expects: string, pattern?: string) {
  return Type.Readonly(
    Type.Array(Type.String(pattern === undefined ? {} : { pattern }), { default: value, description, expects }),
  )
}

export function table(value: Readonly<Record<string, string>>, description: string, expects: string) {
  return Type.Record(Type.String(), Type.String(), { default: value, description, expects })
}

/** A table of numbers of one unit, by name. */
export function numbers(
  value: Readonly<Record<string, number>>,
  [minimum, maximum]: Range,
  description: string,
  expects: string,
) {
  return Type.Record(Type.String(), Type.Integer({ minimum, maximum }), { default: value, description, expects })
}

/** Sections that both programs have. */
export const logSection = section('Logs, on standard error.', {
  level: choice('info', ['trace', 'debug', 'info', 'warn', 'error', 'silent'], 'Least severe level that is written'),
  format: choice('auto', ['auto', 'json', 'pretty'], 'auto is pretty in a terminal and JSON lines elsewhere'),
})

export const shutdownSection = section('What happens at SIGTERM and SIGINT.', {
  timeoutMs: milliseconds(
    10_000,
    [100, 600_000],
    'How long the parts may take to finish what is in hand; then the process exits with status 1',
  ),
})

/** `host:port`, with an IPv6 address in brackets. */
export const ADDRESS_PATTERN = '^([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\]):[1-9][0-9]{0,4}$'

/** A kibibyte, a mebibyte, a gibibyte. */
export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB
