import { globSync } from 'node:fs'

const SEPARATOR = ' › '

/** Files with tests below `folder`, relative to it. */
export function testFiles(folder: string): readonly string[] {
  return globSync('**/*.test.ts', { cwd: folder, exclude: ['node_modules', '.holdfast'] })
}

/**
 * Which file a test is in, by the title that ava shows (8.0.1, `lib/reporters/prefix-title.js`): folders, the file's name without
 * `test-` and suffixes, then the test's own title. @returns undefined for what none of `files` shows.
 */
export function createFileFinder(files: readonly string[]): (shown: string) => string | undefined {
  const prefixes = files.map((file) => ({ file, prefix: prefixOf(file) }))
  // A folder may be called as the file beside it.
  const longestFirst = prefixes.toSorted((a, b) => b.prefix.length - a.prefix.length)
  return (shown) => longestFirst.find(({ prefix }) => shown.startsWith(prefix))?.file
}

function prefixOf(file: string): string {
  const folders = file.split('/')
  const name = (folders.pop() ?? '').replace('.test.', '.').replace('test-', '').replace(/\.ts$/, '')
  return [...folders, name, ''].join(SEPARATOR)
}
