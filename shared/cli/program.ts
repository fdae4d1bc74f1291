/** What the command lines of both programs have in common. */

import { Command, CommanderError } from 'commander'
import { VERSION } from '../version.ts'
import { EXIT_OK, EXIT_USAGE, exitStatusOf } from './exit-status.ts'
import { describeError, type Terminal } from './terminal.ts'

/** An action returns its exit status, or throws what is to be told. */
export type Action<A extends readonly unknown[]> = (...args: A) => Promise<number> | number

export interface CommandLine {
  readonly program: Command
  /** Wraps an action so that its status becomes that of the process. */
  action<A extends readonly unknown[]>(fn: Action<A>): (...args: A) => Promise<void>
  /** Parses `argv` (as in process.argv), runs what it names, and resolves with the exit status. */
  run(argv: readonly string[]): Promise<number>
}

export function commandLine(name: string, description: string, terminal: Terminal): CommandLine {
  let status: number = EXIT_OK
  const program = new Command(name)
    .description(description)
    .version(`${name} ${VERSION}`, '-V, --version', 'print the version')
    .helpCommand(false)
    .showHelpAfterError(`(${name} --help lists what there is)`)
    .configureOutput({ writeOut: terminal.out, writeErr: terminal.err })
    .exitOverride()

  return {
    program,
    action:
      (fn) =>
      async (...args) => {
        status = await fn(...args)
      },
    async run(argv) {
      try {
        await program.parseAsync([...argv])
        return status
      } catch (error) {
        // Help and version end parsing by an error of status 0; commander has written everything already.
        if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE
        terminal.err(describeError(error, terminal.paint))
        return exitStatusOf(error)
      }
    },
  }
}
