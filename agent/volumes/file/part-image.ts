import { FleetError } from '../../../shared/errors.ts'
import { cString } from '../../native/libc.ts'
import { close, removeFile } from '../../native/paths.ts'
import { openImage, WRITE_IMAGE } from './images.ts'
import { forgetOrigin, readRecord } from './record.ts'
import { clonesOf, imageOf, openIfAny, READ_FOLDER } from './volume-tree.ts'
import { writeOut } from './write-out.ts'

/** Its own record first: a name by which a snapshot knows what is no clone is forgotten by whoever looks for its clones. */
export async function partImage(rootFd: number, volume: string): Promise<void> {
  const fd = openImage(rootFd, imageOf(volume), WRITE_IMAGE)
  if (fd === undefined) throw new FleetError('not_found', `there is no volume ${volume}`)
  try {
    const { clone, guid } = readRecord(fd)
    if (clone === undefined) return
    forgetOrigin(fd)
    await writeOut({ rootFd, fds: [fd], holds: 'names' })
    const clonesFd = openIfAny(rootFd, clonesOf(clone.volume, clone.snapshot), READ_FOLDER)
    if (clonesFd === undefined) return
    try {
      removeFile(clonesFd, cString(guid))
    } finally {
      close(clonesFd)
    }
  } finally {
    close(fd)
  }
}
