import { defineConfig } from 'vitest/config'

const withoutMapping = process.env.FIRKIN_MMAP === 'off'
/** What the tool reads it reads by position, mapping or not. */
const unmappedTools = ['hostile', 'options', 'repair-damage'].map((name) => `tools/${name}.test.ts`)

export default defineConfig({
  cacheDir: '../node_modules/.vite',
  test: {
    root: import.meta.dirname,
    include: ['**/*.test.ts'],
    // These map no file anyway: without mapping they would only say the same again.
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
    // By default one processor is left to others.
    maxWorkers: '100%',
    // Only what runs in this process is counted.
    env: process.argv.includes('--coverage') ? { FIRKIN_SWEEPS: 'inline' } : {},
    coverage: {
      // What decides which bytes a crash leaves, and what they mean.
      include: ['segment/**', 'merge/**', 'format/**', 'recovery/**'].map(
        (path) => `**/src/${path}`,
      ),
      // Some tests run the build, which is the same once more.
      exclude: ['**/dist/**'],
      allowExternal: true,
      reporter: ['text'],
    },
  },
})
