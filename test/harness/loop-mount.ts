import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'

export type LoopFileSystem = 'btrfs' | 'xfs' | 'ext4'

const MAKERS: Readonly<Record<LoopFileSystem, readonly [file: string, ...args: string[]]>> = {
  btrfs: ['/usr/sbin/mkfs.btrfs', '-q'],
  xfs: ['/usr/sbin/mkfs.xfs', '-q', '-m', 'reflink=1'],
  ext4: ['/usr/sbin/mkfs.ext4', '-q', '-F'],
}
/** What each maker accepts at the least. */
const MIN_BYTES: Readonly<Record<LoopFileSystem, number>> = {
  btrfs: 120 * 2 ** 20,
  xfs: 300 * 2 ** 20,
  ext4: 64 * 2 ** 20,
}

type Teardown = Pick<ExecutionContext, 'teardown' | 'log'>

/** Whether loop images can be mounted here; logs why not, so that a skip is seen. */
export function canMount(t: Pick<ExecutionContext, 'log'>): boolean {
  if (process.geteuid?.() === 0) return true
  t.log('SKIPPED: mounting a loop image needs root')
  return false
}

/**
 * A private file system in a sparse image below /var/tmp, gone after the test.
 * @returns the mount point
 */
export function mountLoop(t: Teardown, fileSystem: LoopFileSystem, sizeBytes = 0): string {
  const directory = temporaryDirectory(t)
  const image = join(directory, 'image')
  writeFileSync(image, '')
  truncateSync(image, Math.max(sizeBytes, MIN_BYTES[fileSystem]))
  const [maker, ...args] = MAKERS[fileSystem]
  execFileSync(maker, [...args, image], { stdio: 'pipe' })
  const mountPoint = join(directory, 'mnt')
  execFileSync('/bin/mkdir', [mountPoint])
  execFileSync('/bin/mount', ['-o', 'loop', image, mountPoint])
  t.teardown(() => execFileSync('/bin/umount', ['--lazy', mountPoint]))
  return mountPoint
}

/** An empty directory on the machine's own disk, gone after the test. */
export function temporaryDirectory(t: Pick<ExecutionContext, 'teardown'>): string {
  const directory = mkdtempSync('/var/tmp/holdfast-test-')
  // Teardowns run last in, first out: mounts inside are gone by then.
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}
