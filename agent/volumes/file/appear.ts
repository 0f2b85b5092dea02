import { cString } from '../../native/libc.ts'
import { close, RENAME_NOREPLACE } from '../../native/paths.ts'
import { renameBetween } from '../../native/rename-between.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { discard, type ImagePlan, openStaging, stageImage } from './staging.ts'
import { writeOut } from './write-out.ts'

/** Stages an image and gives it its name. One that has it by then stays as it is. Closes `homeFd`. */
export async function appear(
  { rootFd, homeFd, name }: { readonly rootFd: number; readonly homeFd: number; readonly name: string },
  plan: Omit<ImagePlan, 'stagingFd'>,
  watch: Parameters<typeof stageImage>[1],
): Promise<void> {
  let stagingFd: number | undefined
  try {
    stagingFd = openStaging(rootFd)
    using staged = await stageImage({ ...plan, stagingFd }, watch)
    const from = { directoryFd: stagingFd, name: cString(staged.guid) }
    try {
      await writeOut({ rootFd, fds: [staged.fd], holds: holdsOf(plan) })
      renameBetween(from, { directoryFd: homeFd, name: cString(name) }, RENAME_NOREPLACE)
    } catch (error) {
      await discard(stagingFd, staged.guid)
      if (errorCodeOf(error) !== 'EEXIST') throw error
    }
    await writeOut({ rootFd, fds: [homeFd], holds: 'names' })
  } finally {
    if (stagingFd !== undefined) close(stagingFd)
    close(homeFd)
  }
}

/** Of what was just staged. */
function holdsOf({ content }: Pick<ImagePlan, 'content'>): 'data' | 'names' {
  return 'mode' in content && content.mode === 'copy' ? 'data' : 'names'
}
