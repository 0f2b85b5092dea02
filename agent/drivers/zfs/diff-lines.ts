import type { Change, ChangeList } from '../driver.ts'

/** A list of more is not worth its memory: a walk is as good. */
const MAX_CHANGES = 500_000

/**
 * What `zfs diff -H -F` prints: `M`, `+`, `-` or `R`, the kind of file, the path from `/`, of a rename the new path too; and
 * `(+n)` or `(-n)` where names of a file came or went. Bytes outside of printable ASCII come as a backslash and four octal digits.
 * Source: lib/libzfs/libzfs_diff.c of 2.1.
 */
export class DiffLines {
  readonly #changes: [kind: string, type: string, paths: readonly string[]][] = []
  #rest = ''
  #isHopeless = false

  push(chunk: Buffer): void {
    if (this.#isHopeless) return
    const lines = (this.#rest + chunk.toString('latin1')).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.#take(line)
  }

  /** @param mountpoint of the dataset, with which every path begins @returns undefined where a list would be half a list */
  finish(mountpoint: string): ChangeList | undefined {
    if (this.#isHopeless || this.#rest !== '') return undefined
    const prefix = Buffer.from(mountpoint).toString('latin1')
    const list: Change[] = []
    for (const [kind, type, paths] of this.#changes) {
      for (const path of paths.map(bytesOf)) {
        if (path !== prefix && path !== `${prefix}/` && !path.startsWith(`${prefix}/`)) return undefined
        const below = path.slice(prefix.length + 1)
        list.push({ path: below, subtree: kind !== 'M' && type === '/' })
      }
    }
    return list
  }

  #take(line: string): void {
    const [kind = '', type = '', ...paths] = line.split('\t')
    const wanted = kind === 'R' ? 2 : 1
    // One name of several came or went, and only one of them is told.
    const isKnown = ['M', '+', '-', 'R'].includes(kind) && paths.length === wanted
    if (!isKnown || this.#changes.length >= MAX_CHANGES) this.#isHopeless = true
    else this.#changes.push([kind, type, paths])
  }
}

function bytesOf(path: string): string {
  return path.replace(/\\([0-7]{4})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}
