/** busbar-cloud: arguments and environment in, exit status out. */

import { processTerminal } from '../shared/cli/terminal.ts'
import { cloudCommandLine } from './cli/program.ts'

// What it writes is for the user that runs it: databases and spools hold more than anybody on the machine should read.
process.umask(0o077)
const line = cloudCommandLine(processTerminal(process.env), process.env)
// Exits at once: a command may leave connections open that nobody waits for.
process.exit(await line.run(process.argv))
