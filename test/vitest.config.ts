/** The configuration of the tests. */

import { defineConfig } from 'vitest/config'

const withoutMapping = process.env.FIRKIN_MMAP === 'off'
/** The tool reads by position, with mapping or without. */
const unmappedTools = ['hostile', 'options', 'repair-damage'].map((name) => `tools/${name}.test.ts`)

export default defineConfig({
  cacheDir: '../node_modules/.vite',
  test: {
    root: import.meta.dirname,
    include: ['**/*.test.ts'],
    // These tests never map a file, so without mapping they would only repeat themselves.
    exclude: withoutMapping
      ? [
          'damage/**',
          'format/**',
          'io/**',
          'keydir/**',
          'package/**',
          'recovery/**',
          ...unmappedTools,
        ]
      : [],
    setupFiles: ['support/quick-disk.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    // The default leaves one processor unused.
    maxWorkers: '100%',
    // Coverage counts only code that runs in this process.
    env: process.argv.includes('--coverage') ? { FIRKIN_SWEEPS: 'inline' } : {},
    coverage: {
      // The code that decides which bytes a crash leaves, and what they mean.
      include: ['segment/**', 'merge/**', 'format/**', 'recovery/**'].map(
        (path) => `**/src/${path}`,
      ),
      // Some tests run the build, which is the same code again.
      exclude: ['**/dist/**'],
      allowExternal: true,
      reporter: ['text'],
    },
  },
})
