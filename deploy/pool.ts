import { constants, copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { PRIVATE_DIRECTORY_MODE } from './atomic-file.ts'
import { readKept, writeKept } from './kept-json.ts'
import { mountLoopImage, unmountLoopImage } from './loop-image.ts'
import { StartError } from './start-error.ts'
import { whyToolFailed } from './tools.ts'

const PoolKind = z.enum(['btrfs', 'reflink', 'copy', 'sim'])
export type PoolKind = z.infer<typeof PoolKind>

const KeptPool = z.object({ driver: PoolKind })

export interface Pool {
  readonly driver: PoolKind
  /** Absolute path where datasets live. */
  readonly path: string
  /** Why it is not the better kind, when it is not. */
  readonly note: string | undefined
  /** Undoes what a restart of the machine would undo: mounts and loop devices. The data stay. */
  close(): Promise<void>
}

/**
 * Finds or makes the pool of one agent in `folder`: btrfs on a loop image (root), else reflinks when the file system of
 * `folder` can, else plain copies. The kind is decided once; a later start that cannot have it fails.
 *
 * @throws StartError when the pool that was made earlier cannot be opened.
 */
export async function openPool(folder: string, options: { readonly sim: boolean }): Promise<Pool> {
  mkdirSync(folder, { recursive: true, mode: PRIVATE_DIRECTORY_MODE })
  const keptPath = join(folder, 'pool.json')
  const path = join(folder, 'pool')
  const kept = readKept(keptPath, KeptPool)
  const pool = kept ? await reopen(kept.driver, folder, path) : await make(options.sim, folder, path)
  if (!kept) writeKept(keptPath, { driver: pool.driver })
  return pool
}

async function reopen(driver: PoolKind, folder: string, path: string): Promise<Pool> {
  if (driver !== 'btrfs') return directoryPool(driver, path)
  try {
    return await btrfsPool(folder, path)
  } catch (error) {
    throw new StartError(`the pool in ${folder} is a btrfs image and cannot be mounted: ${whyToolFailed(error)}`)
  }
}

async function make(sim: boolean, folder: string, path: string): Promise<Pool> {
  if (sim) return directoryPool('sim', path)
  const root = process.getuid?.() === 0
  let reason = 'not root'
  if (root) {
    try {
      return await btrfsPool(folder, path)
    } catch (error) {
      if (error instanceof StartError) throw error
      reason = whyToolFailed(error)
      rmSync(imagePath(folder), { force: true })
    }
  }
  const driver = canReflink(folder) ? 'reflink' : 'copy'
  return directoryPool(driver, path, `no btrfs image (${reason})`)
}

function directoryPool(driver: PoolKind, path: string, note?: string): Pool {
  mkdirSync(path, { recursive: true, mode: PRIVATE_DIRECTORY_MODE })
  return { driver, path, note, close: async () => {} }
}

function imagePath(folder: string): string {
  return join(folder, 'pool.img')
}

async function btrfsPool(folder: string, path: string): Promise<Pool> {
  const image = imagePath(folder)
  await mountLoopImage(image, path)
  return { driver: 'btrfs', path, note: undefined, close: () => unmountLoopImage(image, path) }
}

/** Whether two files in this folder can share their blocks. */
export function canReflink(folder: string): boolean {
  const source = join(folder, 'reflink-probe')
  const target = `${source}.copy`
  writeFileSync(source, 'probe')
  try {
    copyFileSync(source, target, constants.COPYFILE_FICLONE_FORCE)
    return true
  } catch {
    return false
  } finally {
    rmSync(source, { force: true })
    rmSync(target, { force: true })
  }
}
