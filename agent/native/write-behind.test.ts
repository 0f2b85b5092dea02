import { execFileSync } from 'node:child_process'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { canMount, sharedMounts, temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { lacksTool, testUnless } from '../../test/harness/system-packages.ts'
import { WriteBehind } from './write-behind.ts'

const MIB = 2 ** 20
const shared = sharedMounts(test)

testUnless(lacksTool('fincore'))(
  'what was written long ago is not in memory, and what was written last is',
  async (t) => {
    if (!canMount(t)) return void t.pass()
    const path = join(shared('btrfs'), 'long')
    const file = await open(path, 'wx')
    const behind = new WriteBehind(file.fd)
    const chunk = Buffer.alloc(4 * MIB, 'x')
    for (let written = 0; written < 160 * MIB; ) {
      await file.write(chunk)
      written += chunk.length
      behind.grown(written)
      await behind.settled()
    }
    await file.close()
    const inMemory = Number(execFileSync('fincore', ['-nb', '-o', 'RES', path]).toString())
    t.true(inMemory >= 32 * MIB && inMemory <= 64 * MIB, `${inMemory} bytes`)
  },
)

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
  const chunk = Buffer.alloc(4 * MIB, 'x')
  const grow = async (from: number, to: number) => {
    for (let written = from; written < to; ) {
      await file.write(chunk)
      written += chunk.length
      behind.grown(written)
      await behind.settled()
    }
  }
  const filled = grow(0, 96 * MIB)
  await t.throwsAsync(filled, { code: 'ENOSPC' })
  execFileSync('/bin/mount', ['-o', 'remount,size=400m', join(directory, 'disk')])
  await file.sync().catch(() => undefined)
  await t.notThrowsAsync(file.sync())
  await t.throwsAsync(behind.settled(), { code: 'ENOSPC' })
})
