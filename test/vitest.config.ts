import { defineConfig } from 'vitest/config'

const withoutMapping = process.env.FIRKIN_MMAP === 'off'

export default defineConfig({
  cacheDir: '../node_modules/.vite',
  test: {
    root: import.meta.dirname,
    include: ['**/*.test.ts'],
    // These map no file anyway: without mapping they would only say the same again.
    exclude: withoutMapping
      ? ['damage/**', 'format/**', 'io/**', 'keydir/**', 'package/**', 'recovery/**']
      : [],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
  },
})
