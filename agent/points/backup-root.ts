import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { replaceFile } from './durable-file.ts'

/** In a backup root that was used once: where it is missing, something else lies under that path, as a disk that is not mounted. */
export const ROOT_MARK = '.holdfast-root'
const REMEMBERED = 'backup-roots.json'

const Remembered = z.array(z.string())

/**
 * Marks a backup root when it is first used, and from then on lets nobody use the directory under its path without that mark.
 * @param place.state the agent's state directory, where it is remembered that the mark was there
 * @returns to be called before the root is opened. @throws unavailable
 */
export function guardBackupRoot(place: { readonly root: string; readonly state: string }): () => void {
  const { root, state } = place
  const path = join(state, REMEMBERED)
  return () => {
    const isMarked = existsSync(join(root, ROOT_MARK))
    const known = readRemembered(path)
    const isKnown = known.includes(root)
    if (!isMarked && isKnown) {
      const message = `the backup root of this host is not what it was: its file ${ROOT_MARK} is missing. Mount again what HOLDFAST_AGENT_BACKUP_ROOT names; where it is meant to be a new one, create that file in it`
      throw new FleetError('unavailable', message)
    }
    if (isKnown || !(isMarked || mark(root))) return
    replaceFile(path, `${JSON.stringify([...known, root])}\n`)
  }
}

/** @returns false where it cannot be written to: then nothing is lost there either. */
function mark(root: string): boolean {
  try {
    replaceFile(
      join(root, ROOT_MARK),
      'The backups of a Holdfast agent lie here. It uses this directory only while this file is in it.\n',
    )
    return true
  } catch {
    return false
  }
}

function readRemembered(path: string): readonly string[] {
  if (!existsSync(path)) return []
  return Remembered.parse(JSON.parse(readFileSync(path, 'utf8')))
}
