import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export const MILLION = 1_000_000
const FILES_IN_DIRECTORY = 2_000

/** Short files with long names, in directories of two thousand. */
export function makeManyFiles(tree: string, files: number): void {
  for (let file = 0; file < files; file += 1) {
    const directory = join(tree, `directory-${Math.floor(file / FILES_IN_DIRECTORY)}`)
    if (file % FILES_IN_DIRECTORY === 0) mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, `a file of the million, number ${file}`), `its content: ${file}\n`)
  }
}
