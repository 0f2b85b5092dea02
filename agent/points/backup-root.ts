import { FleetError } from '../../shared/errors.ts'
import { directoryMarks } from '../directory-marks.ts'

/** In a backup root that was used once. */
export const ROOT_MARK = '.holdfast-root'

/**
 * Marks a backup root when it is first used, and from then on lets nobody use the directory under its path without that mark.
 * @param place.state the agent's state directory
 * @returns to be called before the root is opened. @throws unavailable
 */
export function guardBackupRoot({ root, state }: { readonly root: string; readonly state: string }): () => void {
  const text = 'The backups of a Holdfast agent lie here. It uses this directory only while this file is in it.'
  const marks = directoryMarks({ state, remembered: 'backup-roots.json', name: ROOT_MARK, text })
  return () => {
    if (marks.isLost(root)) {
      const message = `the backup root of this host is not what it was: its file ${ROOT_MARK} is missing. Mount again what HOLDFAST_AGENT_BACKUP_ROOT names; where it is meant to be a new one, create that file in it`
      throw new FleetError('unavailable', message)
    }
    marks.mark(root)
  }
}
