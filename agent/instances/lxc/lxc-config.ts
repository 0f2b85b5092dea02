import { dirname, posix } from 'node:path'
import type { InstanceMount } from '../instances.ts'

/** One line of a container's configuration (lxc.container.conf(5), 5.0): `key = value`; `key` is '' for comments and blanks. */
export interface ConfigLine {
  readonly text: string
  readonly key: string
  readonly value: string
}

export function parseConfig(text: string): readonly ConfigLine[] {
  return text.split('\n').map((line) => {
    const match = /^\s*([a-z][a-zA-Z0-9_.-]*)\s*=\s*(.*?)\s*$/.exec(line)
    return { text: line, key: match?.[1] ?? '', value: match?.[2] ?? '' }
  })
}

/** Of keys that are given twice, LXC takes the last. */
export function lastValue(lines: readonly ConfigLine[], key: string): string | undefined {
  const value = lines.findLast((line) => line.key === key)?.value
  return value === '' ? undefined : value
}

/**
 * The directory that a container has as its root.
 * @param folder the container's own, where what is not a directory by itself (zfs, loop, lvm, nbd) is mounted while it runs
 * @returns undefined where there is none (overlay)
 */
export function rootfsOf(lines: readonly ConfigLine[], folder: string): string | undefined {
  const value = lastValue(lines, 'lxc.rootfs.path')
  if (value === undefined) return undefined
  if (value.startsWith('/')) return value
  const [, kind = '', rest = ''] = /^([a-z]+):(.*)$/.exec(value) ?? []
  if ((kind === 'dir' || kind === 'btrfs') && rest.startsWith('/')) return rest
  return kind === 'zfs' ? posix.join(folder, 'rootfs') : undefined
}

/** One line of fstab(5), as `lxc.mount.entry` and `lxc.mount.fstab` hold them. */
export interface MountEntry {
  /** Unescaped. */
  readonly source: string
  /** Absolute in the container, unescaped. */
  readonly destination: string
  readonly options: readonly string[]
  readonly fields: readonly string[]
}

/** @param rootfs destinations may begin with it @returns undefined for a comment or what is no entry */
export function parseMountEntry(text: string, rootfs: string | undefined): MountEntry | undefined {
  const fields = text.trim().split(/\s+/)
  const [source = '', target = '', type = '', options = ''] = fields
  if (source.startsWith('#') || target === '' || type === '') return undefined
  return {
    source: unescapeField(source),
    destination: destinationOf(unescapeField(target), rootfs),
    options: options.split(','),
    fields,
  }
}

function destinationOf(target: string, rootfs: string | undefined): string {
  const inside = rootfs !== undefined && target.startsWith(`${rootfs}/`) ? target.slice(rootfs.length) : target
  return posix.normalize(posix.join('/', inside)).replace(/(?<=.)\/$/, '')
}

/** Octal, as getmntent(3) reads them. */
function unescapeField(field: string): string {
  return field.replaceAll(/\\(040|011|012|134)/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}

export function escapeField(path: string): string {
  return path.replaceAll(/[ \t\n\\]/g, (letter) => `\\${letter.charCodeAt(0).toString(8).padStart(3, '0')}`)
}

/** Mounts that make a container's own /proc, /sys and /dev, not data. */
const SYSTEM = /^\/(proc|sys|dev)(\/|$)/

/** Whether an entry brings a place of the host into the container. */
export function isHostMount(entry: MountEntry): boolean {
  return entry.source.startsWith('/') && !SYSTEM.test(entry.source)
}

/** Host directories and files that are bound into the container, in the order of their mounting. */
export function mountsOf(
  lines: readonly ConfigLine[],
  fstab: string,
  rootfs: string | undefined,
): readonly InstanceMount[] {
  const entries = [
    ...fstab.split('\n'),
    ...lines.filter((line) => line.key === 'lxc.mount.entry').map(({ value }) => value),
  ]
  return entries
    .map((text) => parseMountEntry(text, rootfs))
    .filter((entry) => entry !== undefined)
    .filter((entry) => isHostMount(entry) && entry.options.some((option) => option === 'bind' || option === 'rbind'))
    .map(({ source, destination, options }) => ({
      source,
      destination,
      kind: 'bind' as const,
      volume: undefined,
      readonly: options.includes('ro'),
    }))
}

/** Where a relative `lxc.mount.fstab` would be looked for is not said; only absolute ones are read. */
export function fstabPathOf(lines: readonly ConfigLine[]): string | undefined {
  const path = lastValue(lines, 'lxc.mount.fstab')
  return path?.startsWith('/') && dirname(path) !== path ? path : undefined
}
