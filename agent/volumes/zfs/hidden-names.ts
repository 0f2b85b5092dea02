import { randomUUID } from 'node:crypto'

/**
 * Below a pool's root, beside its volumes, and in no list: no name of a volume or snapshot begins with a point.
 *
 *     .staged-<uuid>   what is to take a volume's name
 *     .past-<guid>     what had a volume's name before: its snapshots are still the volume's
 *     .point-<id>      what is read of a capture, whose snapshot is `<volume>@.point-<id>`
 *     …#.point-<id>    of a capture that is a base: the bookmark that its snapshot left
 *     …@.gone-<guid>   a snapshot that was destroyed, as far as anybody can tell, and that the volume itself still rests on
 */
const PREFIXES = ['.staged-', '.past-', '.point-'] as const

/** On a volume: the guids of its pasts, oldest first, between commas. */
export const PASTS = 'holdfast:pasts'
/** On a past, and so on its snapshots: the path of the volume that it is one of. A volume may have it on itself. */
export const PAST_OF = 'holdfast:past'
/** On what is staged, while names are exchanged: whose name it takes. */
export const TAKES = 'holdfast:takes'

export const newStagedName = (root: string) => `${root}/${STAGED_PREFIX}${randomUUID().replaceAll('-', '')}`
export const pastName = (root: string, guid: string) => `${root}/.past-${guid}`
export const readerName = (root: string, id: string) => `${root}/.point-${id}`
export const captureSnapshot = (name: string, id: string) => `${name}@.point-${id}`
export const baseBookmark = (name: string, id: string) => `${datasetOf(name)}#.point-${id}`
export const goneSnapshot = (name: string, guid: string) => `${datasetOf(name)}@.gone-${guid}`
const STAGED_PREFIX = '.staged-'

export function isStaged(root: string, name: string): boolean {
  return name.startsWith(`${root}/${STAGED_PREFIX}`)
}

export function isHidden(root: string, name: string): boolean {
  return PREFIXES.some((prefix) => name.startsWith(`${root}/${prefix}`))
}

export function isHiddenSnapshot(name: string): boolean {
  return name.includes('@.')
}

export function datasetOf(snapshot: string): string {
  return snapshot.split('@', 1)[0] ?? snapshot
}

/** Full names. @param value of PASTS on the volume itself */
export function pastNames(root: string, value: string): readonly string[] {
  return value === '-' || value === '' ? [] : value.split(',').map((guid) => pastName(root, guid))
}
