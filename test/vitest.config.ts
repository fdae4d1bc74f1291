/** How the tests run: light ones side by side, then those that start brokers and wait for recovery, two at a time. */

import { defineConfig } from 'vitest/config'

const root = new URL('..', import.meta.url).pathname

/** Real brokers, compiled binaries, kill -9: they wait more than they work, but three at once would time each other out. */
const HEAVY = ['test/{system,faults}/**/*.test.ts', 'test/**/*kafka*.test.ts', 'test/demo/demo.test.ts']

const timeouts = { testTimeout: 30_000, hookTimeout: 60_000 }

export default defineConfig({
  test: {
    root,
    // A process of its own for each file: native addons and worker threads do not mix across files.
    pool: 'forks',
    projects: [
      {
        test: {
          name: 'light',
          root,
          include: ['test/**/*.test.ts'],
          exclude: HEAVY,
          maxWorkers: 3,
          sequence: { groupOrder: 0 },
          ...timeouts,
        },
      },
      {
        test: {
          name: 'heavy',
          root,
          include: HEAVY,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
})
