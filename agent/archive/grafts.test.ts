import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, statSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  calm,
  canArchive,
  closeChain,
  describeTree,
  differences,
  extractTo,
  openChain,
  writePoint,
} from '../../test/harness/archive.ts'
import { temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { runRestore } from '../../test/harness/restore-run.ts'
import type { WriteRequest } from './write-archive.ts'

/** Each numbers its inodes from one on, as nothing else writes to it: so numbers of two are the same. */
function mountTmpfs(t: ExecutionContext, directory: string): string {
  mkdirSync(directory)
  execFileSync('/bin/mount', ['-t', 'tmpfs', '-o', 'size=16m', 'grafted', directory])
  t.teardown(() => execFileSync('/bin/umount', ['--lazy', directory]))
  return directory
}

function sh(cwd: string, script: string): void {
  execFileSync('/bin/sh', ['-ec', script], { cwd, stdio: 'pipe' })
}

async function point(home: string, names: string[], request: Partial<WriteRequest>) {
  const name = `p${names.length}`
  const chain = names.length === 0 ? undefined : await openChain(home, names)
  const base = chain === undefined ? {} : { base: { points: names.slice(), lines: chain.lines(calm.signal) } }
  const written = await writePoint({ tree: join(home, 'tree'), points: home, name }, { ...base, ...request })
  if (chain !== undefined) await closeChain(chain)
  names.push(name)
  return written
}

test('trees whose files have the same numbers are one archive: hard links, increments, and plain tar', async (t) => {
  if (!canArchive(t)) return t.pass()
  const home = temporaryDirectory(t)
  const [rootfs, volume] = [mountTmpfs(t, join(home, 'one')), mountTmpfs(t, join(home, 'two'))]
  mkdirSync(join(home, 'tree'))
  sh(join(home, 'tree'), 'mkdir instance rootfs mounts mounts/0; echo 1 > instance/instance.json')
  for (const [tree, word] of [
    [rootfs, 'root'],
    [volume, 'volume'],
  ] as const)
    sh(tree, `echo ${word} > a; ln a b; mkdir d; ln a d/c; echo ${word} > alone; echo ${word} > gone`)
  t.is(statSync(join(rootfs, 'a')).ino, statSync(join(volume, 'a')).ino)
  const fds = [rootfs, volume].map((path) => openSync(path, 'r'))
  t.teardown(() => fds.forEach(closeSync))
  const grafts = ['rootfs', 'mounts/0'].map((path, index) => ({ path, fd: fds[index] ?? -1 }))

  const names: string[] = []
  const check = async () => {
    const name = names.at(-1) ?? ''
    await extractTo(join(home, `whole-${name}`), { points: home, names })
    const byScript = join(home, `script-${name}`)
    mkdirSync(byScript)
    const { status, complaint } = runRestore({ point: join(home, name), into: byScript, bin: join(home, 'bin') })
    t.deepEqual([status, complaint], [0, ''])
    for (const restored of [join(home, `whole-${name}`), byScript]) {
      t.deepEqual(differences(describeTree(join(restored, 'rootfs')), describeTree(rootfs)), [], name)
      t.deepEqual(differences(describeTree(join(restored, 'mounts/0')), describeTree(volume)), [], name)
      t.deepEqual(differences(describeTree(join(restored, 'instance')), describeTree(join(home, 'tree/instance'))), [])
    }
  }
  const full = await point(home, names, { grafts })
  t.is(full.totals.problems, 0)
  await check()

  const same = await point(home, names, { grafts })
  t.is(same.totals.members, 0)
  await check()

  // One name of a file that has three is told anew; the others are unchanged names of what the archive holds.
  sh(rootfs, 'echo more >> a; rm gone; echo new > z')
  sh(volume, 'rm b; ln alone d/again')
  const changed = await point(home, names, { grafts })
  t.is(changed.totals.problems, 0)
  t.true(changed.totals.members < full.totals.members)
  await check()
})
