import { FleetError } from '../../../shared/errors.ts'
import { cString } from '../../native/libc.ts'
import { close, makeDirectory, openBeneath } from '../../native/paths.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { openHome } from './folders.ts'
import { openImage } from './images.ts'
import { readRecord } from './record.ts'
import { clonesOf, openIfAny, parentOf, READ_FOLDER, snapshotImageOf, snapshotsOf } from './volume-tree.ts'

/** A snapshot that is cloned, open. */
export interface CloneSource {
  readonly fd: number
  readonly guid: string
  /** The folder where its clones are known. */
  readonly clonesFd: number
}

/** What some clones have in common is opened once for all of them. */
export interface CloneDesk extends Disposable {
  /** @returns undefined when it is absent */
  source(volume: string, snapshot: string): CloneSource | undefined
  /** The folder that holds this volume's image. @throws not_found */
  home(volume: string, createParent: boolean): Promise<number>
  /** Of all folders in which names may have been made. */
  folders(): Promise<readonly number[]>
}

export function openCloneDesk(rootFd: number): CloneDesk {
  const sources = new Map<string, CloneSource & { readonly snapshotsFd: number }>()
  const homes = new Map<string, Promise<number>>()

  function openSource(volume: string, snapshot: string) {
    const snapshotsFd = openIfAny(rootFd, snapshotsOf(volume), READ_FOLDER)
    if (snapshotsFd === undefined) return undefined
    const fds = [snapshotsFd]
    try {
      const fd = openImage(rootFd, snapshotImageOf(volume, snapshot))
      if (fd === undefined) {
        close(snapshotsFd)
        return undefined
      }
      fds.push(fd)
      // At once, without a wait: whoever destroys the snapshot does so before it was opened, or removes this folder with it.
      makeIfMissing(snapshotsFd, clonesOf(volume, snapshot).slice(snapshotsOf(volume).length + 1))
      const clonesFd = openBeneath(rootFd, clonesOf(volume, snapshot), READ_FOLDER)
      fds.push(clonesFd)
      return { fd, guid: readRecord(fd).guid, clonesFd, snapshotsFd }
    } catch (error) {
      for (const fd of fds) close(fd)
      throw error
    }
  }

  return {
    source(volume, snapshot) {
      const key = `${volume}@${snapshot}`
      const source = sources.get(key) ?? openSource(volume, snapshot)
      if (source !== undefined) sources.set(key, source)
      return source
    },

    async home(volume, createParent) {
      // One that does not ask for parents fails alone.
      const key = `${createParent} ${parentOf(volume) ?? ''}`
      const known = homes.get(key)
      if (known !== undefined) return known
      const opening = openHome(rootFd, volume, createParent)
      homes.set(key, opening)
      opening.catch(() => homes.delete(key))
      return opening
    },

    async folders() {
      const opened = await Promise.all(homes.values())
      return [...opened, ...[...sources.values()].flatMap(({ clonesFd, snapshotsFd }) => [clonesFd, snapshotsFd])]
    },

    [Symbol.dispose]() {
      for (const { fd, clonesFd, snapshotsFd } of sources.values())
        for (const open of [fd, clonesFd, snapshotsFd]) close(open)
      for (const opening of homes.values()) void opening.then(close, () => undefined)
    },
  }
}

function makeIfMissing(folderFd: number, name: string): void {
  try {
    makeDirectory(folderFd, cString(name), 0o700)
  } catch (error) {
    if (errorCodeOf(error) !== 'EEXIST') throw error
  }
}

export function snapshotNotFound(volume: string, snapshot: string): FleetError {
  return new FleetError('not_found', `there is no snapshot ${volume}@${snapshot}`)
}
