/** busbar-cloud: arguments and environment in, exit status out. */

import { processTerminal } from '../shared/cli/terminal.ts'
import { cloudCommandLine } from './cli/program.ts'

const line = cloudCommandLine(processTerminal(process.env), process.env)
// Exits at once: a command may leave connections open that nobody waits for.
process.exit(await line.run(process.argv))
