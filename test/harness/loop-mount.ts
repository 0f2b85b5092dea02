import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext, TestFn } from 'ava'
import { inMemory } from './memory-image.ts'

export type LoopFileSystem = 'btrfs' | 'xfs' | 'ext4'

const MAKERS: Readonly<Record<LoopFileSystem, readonly [file: string, ...args: string[]]>> = {
  btrfs: ['/usr/sbin/mkfs.btrfs', '-q'],
  xfs: ['/usr/sbin/mkfs.xfs', '-q', '-m', 'reflink=1'],
  ext4: ['/usr/sbin/mkfs.ext4', '-q', '-F'],
}
/** A loop device calls itself rotational; btrfs then lets every flush wait for company. */
const OPTIONS: Readonly<Record<LoopFileSystem, string>> = { btrfs: 'loop,ssd', xfs: 'loop', ext4: 'loop' }
/** What each maker accepts at the least. */
const MIN_BYTES: Readonly<Record<LoopFileSystem, number>> = {
  btrfs: 120 * 2 ** 20,
  xfs: 300 * 2 ** 20,
  ext4: 64 * 2 ** 20,
}

/** What `t.teardown` is, or `test.after.always` collected: run in reverse order. */
interface Teardown {
  teardown(act: () => void): void
}

/** Whether loop images can be mounted here; logs why not, so that a skip is seen. */
export function canMount(t: Pick<ExecutionContext, 'log'>): boolean {
  if (process.geteuid?.() === 0) return true
  t.log('SKIPPED: mounting a loop image needs root')
  return false
}

/**
 * A private file system below /var/tmp, its image sparse and in memory where there is room, gone after the test.
 * @returns the mount point
 */
export function mountLoop(t: Teardown, fileSystem: LoopFileSystem, sizeBytes = 0): string {
  const directory = temporaryDirectory(t)
  const image = join(directory, 'image')
  const bytes = Math.max(sizeBytes, MIN_BYTES[fileSystem])
  inMemory(t, image, bytes)
  writeFileSync(image, '')
  truncateSync(image, bytes)
  const [maker, ...args] = MAKERS[fileSystem]
  execFileSync(maker, [...args, image], { stdio: 'pipe' })
  const mountPoint = join(directory, 'mnt')
  execFileSync('/bin/mkdir', [mountPoint])
  execFileSync('/bin/mount', ['-o', OPTIONS[fileSystem], image, mountPoint])
  t.teardown(() => execFileSync('/bin/umount', ['--lazy', mountPoint]))
  return mountPoint
}

/**
 * One mount of each kind for all tests of a file; each takes a directory of its own in it.
 * @param test its `after.always` unmounts them
 */
export function sharedMounts(test: TestFn): (fileSystem: LoopFileSystem) => string {
  const cleanUps: (() => void)[] = []
  const mounted = new Map<LoopFileSystem, string>()
  test.after.always(() => {
    for (const cleanUp of cleanUps.toReversed()) cleanUp()
  })
  return (fileSystem) => {
    const teardown = (act: () => void) => cleanUps.push(act)
    const mountPoint = mounted.get(fileSystem) ?? mountLoop({ teardown }, fileSystem, SHARED_BYTES)
    mounted.set(fileSystem, mountPoint)
    return mountPoint
  }
}
const SHARED_BYTES = 2 ** 30

/** An empty directory on the machine's own disk, gone after the test. */
export function temporaryDirectory(t: Teardown): string {
  const directory = mkdtempSync('/var/tmp/holdfast-test-')
  // Teardowns run last in, first out: mounts inside are gone by then.
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}
