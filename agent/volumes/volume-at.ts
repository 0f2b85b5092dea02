import { readdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import type { Volumes } from './volumes.ts'

/** udev's links of the LUNs that this host is logged in to: `ip-192.0.2.1:3260-iscsi-iqn.2026-01.example:disk-lun-1`. */
const BY_PATH = '/dev/disk/by-path'
const LUN_LINK = /-iscsi-(.+)-lun-\d+$/

/**
 * What a file or device of this host is: `<pool>/<volume>` of one of its pools, or `iscsi:<wwn>` of a target that it is logged in to.
 * @param path absolute; it need not be there
 */
export function findVolumeAt(path: string, pools: ReadonlyMap<string, Volumes>, byPath = BY_PATH): string | undefined {
  const real = realOf(path)
  for (const [pool, volumes] of pools) {
    const volume = volumes.at(path) ?? volumes.at(real)
    if (volume !== undefined) return `${pool}/${volume}`
  }
  if (!real.startsWith('/dev/')) return undefined
  for (const link of linksIn(byPath)) {
    const wwn = LUN_LINK.exec(link)?.[1]
    if (wwn !== undefined && realOf(join(byPath, link)) === real) return `iscsi:${wwn.toLowerCase()}`
  }
  return undefined
}

function realOf(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

function linksIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return [] // a host without such devices
  }
}
