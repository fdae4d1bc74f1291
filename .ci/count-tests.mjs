/** Prints "passed failed" of a vitest JSON report. What was skipped counts as failed, and is named. */

import { readFileSync } from 'node:fs'

const report = JSON.parse(readFileSync(process.argv[2], 'utf8'))
let passed = 0
let failed = 0
for (const file of report.testResults) {
  for (const test of file.assertionResults) {
    if (test.status === 'passed') passed++
    else failed++
    if (test.status !== 'passed') process.stderr.write(`${test.status}: ${file.name}: ${test.fullName}\n`)
  }
  if (file.status === 'failed' && file.assertionResults.every((test) => test.status === 'passed')) {
    failed++
    process.stderr.write(`failed to load: ${file.name}: ${file.message}\n`)
  }
}
process.stdout.write(`${passed} ${failed}\n`)
