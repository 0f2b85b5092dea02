import { execFileSync } from 'node:child_process'
import { linkSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { mountLoop } from './loop-mount.ts'

/**
 * A tree whose files have numbers beyond 2^53, of which a double tells many to be one: an overlay with `xino`. Files `f0` to `f19` hold their own name and have a
 * second one, `g0` to `g19`. @returns the tree, and a directory beside it on a file system of its own
 */
export function treeWithLargeNumbers(t: ExecutionContext): { readonly tree: string; readonly beside: string } {
  const [lower, upper] = [mountLoop(t, 'ext4'), mountLoop(t, 'btrfs')]
  const tree = join(upper, 'merged')
  for (const name of ['upper', 'work', 'merged', 'beside']) mkdirSync(join(upper, name))
  for (let file = 0; file < 20; file += 1) {
    writeFileSync(join(lower, `f${file}`), `f${file}`)
    linkSync(join(lower, `f${file}`), join(lower, `g${file}`))
  }
  const options = `lowerdir=${lower},upperdir=${join(upper, 'upper')},workdir=${join(upper, 'work')},xino=on`
  execFileSync('/bin/mount', ['-t', 'overlay', 'overlay', '-o', options, tree])
  t.teardown(() => execFileSync('/bin/umount', ['--lazy', tree]))
  t.true(BigInt(execFileSync('/usr/bin/stat', ['-c', '%i', join(tree, 'f0')]).toString()) > 2n ** 53n)
  return { tree, beside: join(upper, 'beside') }
}
