import type { Progress } from '../../shared/job-event.ts'

const UNKNOWN = -1
/** All of it is told by the end of the work, not by its progress. */
const PERCENT_MAX = 99

function shareOf(done: number | undefined, total: number | undefined): number | undefined {
  return done === undefined || total === undefined || total === 0 ? undefined : (100 * done) / total
}

/** What is shown of a backup or restore that is under way: whole percents up to 99, or −1 where nobody can tell. */
export function percentShown(progress: Progress | null | undefined): number {
  if (progress === null || progress === undefined) return UNKNOWN
  const { percent, bytes, totalBytes, files, totalFiles } = progress
  const share = percent ?? shareOf(bytes, totalBytes) ?? shareOf(files, totalFiles)
  return share === undefined ? UNKNOWN : Math.max(0, Math.min(PERCENT_MAX, Math.floor(share)))
}
