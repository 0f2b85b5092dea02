import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findTool } from '../../deploy/tools.ts'

/** Why this machine cannot run what needs ZFS, LIO or open-iscsi; undefined when it can. */
export function lacksZfs(): string | undefined {
  if (process.geteuid?.() !== 0) return 'ZFS needs root'
  if (findTool('zfs') === undefined) return 'this host has no ZFS'
  return existsSync('/dev/zfs') ? undefined : 'the module of ZFS is not loaded'
}

export function lacksLio(): string | undefined {
  if (process.geteuid?.() !== 0) return 'LIO needs root'
  if (!existsSync('/sys/kernel/config/target/core')) return 'target_core_mod is not loaded, or configfs not mounted'
  return undefined
}

export function lacksInitiator(): string | undefined {
  return findTool('iscsiadm') === undefined ? 'open-iscsi is not installed' : undefined
}

/** @returns stdout */
export function tool(name: string, ...args: readonly string[]): string {
  const file = findTool(name)
  if (file === undefined) throw new Error(`${name} is not installed`)
  return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

export interface Room {
  /** Of a zpool of its own, in a file below /var/tmp. */
  readonly pool: string
  readonly directory: string
  close(): void
}

export function makeRoom(sizeBytes = 2 ** 31, compression = 'lz4'): Room {
  const directory = mkdtempSync('/var/tmp/holdfast-lab-')
  const pool = `hflab${randomBytes(4).toString('hex')}`
  const image = join(directory, 'pool.raw')
  writeFileSync(image, '')
  truncateSync(image, sizeBytes)
  const mountpoint = join(directory, 'mnt')
  tool(
    'zpool',
    'create',
    '-o',
    'ashift=12',
    '-O',
    `compression=${compression}`,
    '-O',
    `mountpoint=${mountpoint}`,
    pool,
    image,
  )
  return {
    pool,
    directory,
    close() {
      tool('zpool', 'destroy', '-f', pool)
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

/** Names of what stands in the kernel's target, everything included: what a test leaves is seen. */
export function standingTargets(): readonly string[] {
  const root = '/sys/kernel/config/target'
  const stores = readdirSync(join(root, 'core'))
    .filter((name) => /^(iblock|fileio)_\d+$/.test(name))
    .flatMap((name) => readdirSync(join(root, 'core', name)).filter((store) => store.startsWith('holdfast-')))
  const targets = existsSync(join(root, 'iscsi')) ? readdirSync(join(root, 'iscsi')) : []
  return [...stores, ...targets.filter((name) => name.startsWith('iqn.'))]
}
