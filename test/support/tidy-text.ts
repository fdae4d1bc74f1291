/** The rules of style that a text search can check. */

interface Rule {
  readonly pattern: RegExp
  readonly reason: string
  /** Files the rule is about. */
  readonly in: RegExp
  /** Files that may. */
  readonly except?: RegExp
}

const PROGRAMS = /^(edge|cloud|shared)\//
const EVERYWHERE = /./

const RULES: readonly Rule[] = [
  {
    pattern: /\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(|\bprocess\.(hrtime|uptime)\b|\bBun\.nanoseconds\(/,
    reason: 'reads a clock: take a Clock',
    in: PROGRAMS,
    except: /^shared\/clock\.ts$/,
  },
  {
    pattern: /\b(setTimeout|setInterval)\(|\bBun\.sleep\(|\bAbortSignal\.timeout\(|'node:timers/,
    reason: 'sets a timer: take a Clock',
    in: PROGRAMS,
    except: /^shared\/clock\.ts$/,
  },
  {
    pattern: /\bMath\.random\(|\brandomUUID\(|\brandomBytes\(|\bgetRandomValues\(/,
    reason: 'draws at random: take a Random',
    in: PROGRAMS,
    except: /^shared\/random\.ts$/,
  },
  { pattern: /\bconsole\.\w+\(/, reason: 'writes to the console: take a Logger, or a Terminal', in: PROGRAMS },
  {
    pattern: /\bprocess\.env\b|\bBun\.env\b/,
    reason: 'reads the environment: only config.ts and main.ts do',
    in: PROGRAMS,
    except: /^(edge|cloud)\/(config|main)\.ts$/,
  },
  {
    pattern: /\bprocess\.exit\(/,
    reason: 'ends the process: return or throw, main.ts exits',
    in: PROGRAMS,
    except: /^((edge|cloud)\/main|shared\/cli\/run-until-signal)\.ts$/,
  },
  {
    pattern: /\bnew Worker\((?!workerUrl\()/,
    reason: 'starts a thread that a compiled binary would not find: use workerUrl',
    in: PROGRAMS,
  },
  { pattern: /\b(enum|namespace)\s+\w+\s*\{/, reason: 'is syntax that cannot be erased', in: EVERYWHERE },
  { pattern: /\.only\(/, reason: 'hides the other tests', in: /^test\// },
  { pattern: /\.(todo|fails)\(/, reason: 'is a test that tests nothing', in: /^test\// },
]

/** Looked for in comments too, unlike the rules above. */
const LEFT_OPEN = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX', 'HA' + 'CK'].join('|')})\\b`)

/** Lines of a file that is one idea; a test file may hold more cases than that. */
const LINES_MAX = 300
const TEST_LINES_MAX = 450

/** What is wrong with the text of one file; each message begins with the line. */
export function textViolations(file: string, text: string): string[] {
  const violations: string[] = []
  const lines = text.replace(/\n$/, '').split('\n')
  const linesMax = /[.-](test|suite)\.ts$/.test(file) ? TEST_LINES_MAX : LINES_MAX
  if (lines.length > linesMax) violations.push(`${lines.length}: is longer than ${linesMax} lines: split it by idea`)
  if (!file.endsWith('.test.ts') && !/^(#!.*\n)?(\/\*\*|\/\/)/.test(text))
    violations.push('1: opens without its purpose')
  const rules = RULES.filter((rule) => rule.in.test(file) && !rule.except?.test(file))
  lines.forEach((line, i) => {
    if (LEFT_OPEN.test(line)) violations.push(`${i + 1}: leaves something open`)
    const code = withoutComment(line)
    for (const { pattern, reason } of rules) if (pattern.test(code)) violations.push(`${i + 1}: ${reason}`)
  })
  return violations
}

/** Formatted code has comments on lines of their own or after two slashes at the end; never a block within a line. */
function withoutComment(line: string): string {
  if (/^\s*(\*|\/\*|\/\/)/.test(line)) return ''
  return line.replace(/(^|\s)\/\/ .*$/, '')
}
