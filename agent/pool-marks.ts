import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { ConfigError } from '../shared/config.ts'
import { replaceFile } from './points/durable-file.ts'

/** In the directory of a pool that was used once: where it is missing, something else lies under that path, as a disk that is not mounted. */
export const POOL_MARK = '.holdfast-pool'
const REMEMBERED = 'pools.json'

const Remembered = z.array(z.string())

export interface PoolMarks {
  /** Before anything is made there. @throws ConfigError where the pool is not what it was */
  require(pool: { readonly name: string; readonly path: string }): void
  /** Once it was opened. */
  mark(path: string): void
}

/** Pools are directories: an empty one below a mount point would pass for a pool of which all was deleted. @param state where it is remembered that marks were there */
export function openPoolMarks(state: string): PoolMarks {
  const path = join(state, REMEMBERED)
  const known = new Set(existsSync(path) ? Remembered.parse(JSON.parse(readFileSync(path, 'utf8'))) : [])
  const isMarked = (pool: string) => existsSync(join(pool, POOL_MARK))

  return {
    require({ name, path: pool }) {
      if (!known.has(pool) || isMarked(pool)) return
      throw new ConfigError(
        `the pool ${name} is not what it was: its file ${POOL_MARK} is missing. Mount again what lies at ${pool}; where it is meant to be a new one, create that file in it`,
      )
    },

    mark(pool) {
      if (known.has(pool) || !(isMarked(pool) || isWritten(pool))) return
      mkdirSync(state, { recursive: true, mode: 0o700 })
      known.add(pool)
      replaceFile(path, `${JSON.stringify([...known])}\n`)
    },
  }
}

/** @returns false where it cannot be: then nothing is made there either. */
function isWritten(pool: string): boolean {
  try {
    replaceFile(
      join(pool, POOL_MARK),
      'A Holdfast agent keeps datasets and volumes here. It uses this directory only while this file is in it.\n',
    )
    return true
  } catch {
    return false
  }
}
