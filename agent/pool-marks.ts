import { ConfigError } from '../shared/config.ts'
import { directoryMarks } from './directory-marks.ts'

/** In the directory of a pool that was used once. */
export const POOL_MARK = '.holdfast-pool'

export interface PoolMarks {
  /** Before anything is made there. @throws ConfigError where the pool is not what it was */
  require(pool: { readonly name: string; readonly path: string }): void
  /** Once it was opened. */
  mark(path: string): void
}

/** Pools are directories: an empty one below a mount point would pass for a pool of which all was deleted. @param state the agent's state directory */
export function openPoolMarks(state: string): PoolMarks {
  const text = 'A Holdfast agent keeps datasets and volumes here. It uses this directory only while this file is in it.'
  const marks = directoryMarks({ state, remembered: 'pools.json', name: POOL_MARK, text })
  return {
    require({ name, path }) {
      if (!marks.isLost(path)) return
      throw new ConfigError(
        `the pool ${name} is not what it was: its file ${POOL_MARK} is missing. Mount again what lies at ${path}; where it is meant to be a new one, create that file in it`,
      )
    },
    mark: (path) => marks.mark(path),
  }
}
