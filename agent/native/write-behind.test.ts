import { execFileSync } from 'node:child_process'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { canMount, sharedMounts, temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { MemoryProbe } from '../archive/write/read-file.ts'
import { WriteBehind } from './write-behind.ts'

const MIB = 2 ** 20
const shared = sharedMounts(test)

test('of what was written the beginning leaves the memory once it is long', async (t) => {
  if (!canMount(t)) return t.pass()
  for (const [name, bytes, isInMemory] of [
    ['short', 16 * MIB, true],
    ['long', 96 * MIB, false],
  ] as const) {
    await using file = await open(join(shared('btrfs'), name), 'wx+')
    await writeBehind(file, new WriteBehind(file.fd), bytes)
    t.is(new MemoryProbe().has(file.fd), isInMemory, name)
  }
})

async function writeBehind(file: FileHandle, behind: WriteBehind, bytes: number): Promise<void> {
  const chunk = Buffer.alloc(4 * MIB, 'x')
  for (let written = 0; written < bytes; ) {
    await file.write(chunk)
    written += chunk.length
    behind.grown(written)
    await behind.settled()
  }
}

/** An ext4 whose disk has less room than it says, until `grow`: what is written there fails behind the writer's back. */
const SMALL_DISK = `cd "$1"; mkdir disk mnt; mount -t tmpfs -o size=24m none disk; truncate -s 256m disk/image
  mkfs.ext4 -q -F -O ^has_journal -E nodiscard disk/image; mount -o loop,errors=continue disk/image mnt`

test('what a disk did not take is told, though a later fsync succeeds', async (t) => {
  if (!canMount(t)) return t.pass()
  const directory = temporaryDirectory(t)
  t.teardown(() => void execFileSync('/bin/sh', ['-c', 'cd "$1"; umount -l mnt disk; true', 'sh', directory]))
  execFileSync('/bin/sh', ['-ec', SMALL_DISK, 'sh', directory])
  const file = await open(join(directory, 'mnt/file'), 'wx')
  t.teardown(() => file.close())
  const behind = new WriteBehind(file.fd)
  await t.throwsAsync(writeBehind(file, behind, 96 * MIB), { code: 'ENOSPC' })
  execFileSync('/bin/mount', ['-o', 'remount,size=400m', join(directory, 'disk')])
  await file.sync().catch(() => undefined)
  await t.notThrowsAsync(file.sync())
  await t.throwsAsync(behind.settled(), { code: 'ENOSPC' })
})
