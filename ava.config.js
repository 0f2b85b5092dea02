import { longestFirst } from './deploy/test-order.ts'

// biome-ignore lint/style/noDefaultExport: ava asks for it
export default {
  extensions: ['ts'],
  files: ['**/*.test.ts', '!.holdfast/**'],
  timeout: '3m',
  concurrency: 2,
  workerThreads: false,
  sortTestFiles: longestFirst,
}
