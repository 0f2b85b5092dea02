import { stripVTControlCharacters } from 'node:util'

/** A line that tells of a test's end: its file's folders and name, then its title. */
const ENDED_TEST = /^\s*(?:✔|✘ \[fail\]:) (.+)$/
const SEPARATOR = ' › '
const SHOWN = 15

/**
 * How long the tests of each file took, from the end of the first to the end of the last, as ava prints them: what it takes to load a file
 * and to its first end is not in it. For whoever has to make the suite shorter.
 */
export function createSlowestFiles(now: () => number = () => performance.now()) {
  const files = new Map<string, { readonly firstMs: number; lastMs: number }>()
  return {
    read(coloured: string): void {
      const title = ENDED_TEST.exec(stripVTControlCharacters(coloured))?.[1]
      // A run of one file does not name it.
      if (title === undefined || !title.includes(SEPARATOR)) return
      const file = fileOf(title)
      const atMs = now()
      const seen = files.get(file)
      if (seen === undefined) files.set(file, { firstMs: atMs, lastMs: atMs })
      else seen.lastMs = atMs
    },
    /** Seconds and names, the longest first. */
    summary(): string {
      const slowest = [...files]
        .map(([file, { firstMs, lastMs }]) => ({ file, seconds: Math.round((lastMs - firstMs) / 1_000) }))
        .filter(({ seconds }) => seconds > 0)
        .toSorted((a, b) => b.seconds - a.seconds)
        .slice(0, SHOWN)
      return slowest.map(({ file, seconds }) => `${seconds} s ${file}`).join(', ')
    },
  }
}

/** Titles may hold the separator too, but none of ours begins like a folder of the repository. */
function fileOf(title: string): string {
  return title.slice(0, title.lastIndexOf(SEPARATOR)).replaceAll(SEPARATOR, '/')
}
