import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['ts/**/*.test.ts', 'bench/*.test.mjs'],
          exclude: ['ts/**/*.e2e.test.ts'],
          // What a moment is enough for can take long where other work has the cores.
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['ts/**/*.e2e.test.ts'],
          // Each starts real nodes; two cores carry one at a time.
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          expect: { poll: { timeout: 30_000 } },
        },
      },
    ],
  },
})
