import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { replaceFile } from './points/durable-file.ts'

const Remembered = z.array(z.string())

export interface DirectoryMarks {
  /** Whether the directory was marked once and is not now: something else lies under that path, as a disk that is not mounted. */
  isLost(directory: string): boolean
  /** Marks one that is used, unless it cannot be written to: then nothing is made there either. */
  mark(directory: string): void
}

/**
 * Files that tell directories which an agent has used from empty ones below the same paths.
 * @param place.state the agent's state directory, where `remembered` names those that were marked
 */
export function directoryMarks(place: {
  readonly state: string
  readonly remembered: string
  readonly name: string
  /** What the mark says to people. */
  readonly text: string
}): DirectoryMarks {
  const { state, name, text } = place
  const path = join(state, place.remembered)
  const isMarked = (directory: string) => existsSync(join(directory, name))
  const known = () => (existsSync(path) ? Remembered.parse(JSON.parse(readFileSync(path, 'utf8'))) : [])

  function isWritten(directory: string): boolean {
    try {
      replaceFile(join(directory, name), `${text}\n`)
      return true
    } catch {
      return false
    }
  }

  return {
    isLost: (directory) => !isMarked(directory) && known().includes(directory),

    mark(directory) {
      const before = known()
      if (before.includes(directory) || !(isMarked(directory) || isWritten(directory))) return
      mkdirSync(state, { recursive: true, mode: 0o700 })
      replaceFile(path, `${JSON.stringify([...before, directory])}\n`)
    },
  }
}
