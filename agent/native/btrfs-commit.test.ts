import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { canMount, mountLoop } from '../../test/harness/loop-mount.ts'
import { createSubvolume } from './btrfs.ts'
import { commitTransaction } from './btrfs-commit.ts'

/** The kernel's next round is 30 seconds away. */
const MS = 25_000

test('many commits at a time, of several subvolumes too, end long before the kernel would begin by itself', async (t) => {
  if (!canMount(t)) return t.pass()
  const path = mountLoop(t, 'btrfs')
  const top = openSync(path, 'r')
  await createSubvolume(top, 'other')
  mkdirSync(join(path, 'folder'))
  const fds = [top, openSync(join(path, 'folder'), 'r'), openSync(join(path, 'other'), 'r')]
  t.teardown(() => fds.forEach((fd) => void closeSync(fd)))
  const startedMs = performance.now()
  for (let round = 0; round < 5; round += 1)
    await Promise.all(
      Array.from({ length: 30 }, async (_, n) => {
        const inner = ['folder', 'other'][n % 2] ?? ''
        writeFileSync(join(path, inner, `${round}-${n}`), 'x')
        await commitTransaction(fds[n % fds.length] ?? top)
      }),
    )
  t.true(performance.now() - startedMs < MS)
})
