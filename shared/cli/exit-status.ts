/** Exit statuses of both programs; those above 63 are sysexits.h's. */

import { BusbarError } from '../errors.ts'

export const EXIT_OK = 0
/** What was asked for did not succeed. */
export const EXIT_FAILED = 1
/** EX_USAGE: the command line is wrong. */
export const EXIT_USAGE = 64
/** EX_SOFTWARE: a fault of the program itself; a supervisor should restart it. */
export const EXIT_FAULT = 70
/** EX_CONFIG: starting again without correcting the config is pointless. */
export const EXIT_CONFIG = 78

export function exitStatusOf(error: unknown): number {
  if (!(error instanceof BusbarError)) return EXIT_FAULT
  if (error.code === 'USAGE') return EXIT_USAGE
  return error.code.startsWith('CONFIG_') ? EXIT_CONFIG : EXIT_FAILED
}
