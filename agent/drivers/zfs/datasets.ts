import { chmod, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import { Id } from '../../../shared/ids.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { checkedRoot, DATASETS_HOME } from '../../zfs/names.ts'
import type { Zfs } from '../../zfs/zfs.ts'
import type { DatasetInfo } from '../driver.ts'

/** Ours, on what an agent made: never on what it found. */
const MARK = 'holdfast:datasets'
/** Others may pass through to datasets they know by name, but not list them. */
const HOME_MODE = 0o711
/** What a snapshot that an image was cloned from is called, before the image's uuid. */
const OWN_SNAPSHOT = /^holdfast-([0-9a-f-]{36})$/

export interface Datasets {
  /** Full name of the file system whose children are the datasets. */
  readonly home: string
  /** Where it is mounted. */
  readonly mountpoint: string
  name(dataset: string): string
  /** Mounts it where it is there and not mounted. */
  find(dataset: string, signal: AbortSignal): Promise<DatasetInfo | undefined>
}

export function ownSnapshot(image: string): string {
  return `holdfast-${image}`
}

/** @param name of a snapshot, with or without its dataset @returns the image it was taken for; undefined for somebody else's */
export function imageOf(name: string): string | undefined {
  return OWN_SNAPSHOT.exec(name.slice(name.indexOf('@') + 1))?.[1]
}

/** Makes `<root>/datasets`, mounted where ZFS puts it. @throws invalid, unavailable */
export async function openDatasets(zfs: Zfs, root: string): Promise<Datasets> {
  const { signal } = new AbortController()
  const home = `${checkedRoot(root)}/${DATASETS_HOME}`
  const columns = ['name', 'mountpoint', 'mounted', MARK] as const
  const look = async () => {
    const [row] = await zfs.list({ columns, types: ['filesystem'], names: [home], depth: 0 }, signal)
    return row
  }
  if ((await look()) === undefined) {
    const options = [`${MARK}=yes`, 'xattr=sa', 'acltype=posixacl', 'canmount=on']
    await zfs.call(['create', ...options.flatMap((option) => ['-o', option]), home], signal)
  }
  const row = await look()
  if (row?.[MARK] !== 'yes') {
    throw new FleetError(
      'invalid',
      `the pool has a dataset '${DATASETS_HOME}' that Holdfast did not make; name one of its own`,
      { detail: home },
    )
  }
  const { mountpoint } = row
  if (!mountpoint.startsWith('/')) {
    throw new FleetError('invalid', `datasets of ZFS need a mountpoint: set one on the pool's dataset`, {
      detail: home,
    })
  }
  if (row.mounted !== 'yes') await zfs.call(['mount', home], signal)
  await chmod(mountpoint, HOME_MODE)

  function name(dataset: string): string {
    if (!Id.safeParse(dataset).success) throw new FleetError('invalid', 'no uuid of a dataset')
    return `${home}/${dataset}`
  }

  /** A directory of that name that is no mount is what a dataset that is not mounted leaves, or nobody's. */
  async function mounted(dataset: string): Promise<DatasetInfo | undefined> {
    const path = join(mountpoint, dataset)
    const [own, outer] = await Promise.all([stat(path).catch(absent), stat(mountpoint)])
    if (own === undefined || own.dev === outer.dev) return undefined
    return { rootInode: own.ino, mountpoint: path }
  }

  return {
    home,
    mountpoint,
    name,

    async find(dataset, at) {
      const full = name(dataset)
      const there = await mounted(dataset)
      if (there !== undefined) return there
      const request = { columns: ['name', 'mounted'], types: ['filesystem'], names: [full], depth: 0 } as const
      const [found] = await zfs.list(request, at)
      if (found === undefined) return undefined
      if (found.mounted !== 'yes') await zfs.call(['mount', full], at)
      const now = await mounted(dataset)
      if (now === undefined) throw new FleetError('unavailable', `dataset ${dataset} is not mounted where it belongs`)
      return now
    },
  }
}

function absent(error: unknown): undefined {
  if (errorCodeOf(error) !== 'ENOENT') throw error
  return undefined
}
