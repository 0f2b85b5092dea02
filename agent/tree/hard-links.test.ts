import { execFileSync } from 'node:child_process'
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { treeWithLargeNumbers } from '../../test/harness/large-numbers.ts'
import { canMount, mountLoop } from '../../test/harness/loop-mount.ts'
import { cString } from '../native/libc.ts'
import { Status } from '../native/status.ts'
import { HardLinks } from './hard-links.ts'
import { runTreeTask } from './tree-task.ts'

const calm = { signal: new AbortController().signal, progress: () => undefined }
const ATTEMPTS = 200

function open(t: ExecutionContext, path: string): number {
  const fd = openSync(path, 'r')
  t.teardown(() => closeSync(fd))
  return fd
}

test('a file that got the number of one that is gone is not that one', (t) => {
  if (!canMount(t)) return t.pass()
  const mounted = mountLoop(t, 'ext4')
  for (const name of ['live', 'clone']) mkdirSync(join(mounted, name))
  const [liveFd, cloneFd] = [open(t, join(mounted, 'live')), open(t, join(mounted, 'clone'))]
  const [file, other] = [join(mounted, 'live', 'file'), join(mounted, 'live', 'other')]
  const make = () => {
    writeFileSync(file, '')
    linkSync(file, other)
    return new Status().readName(liveFd, cString('file'))
  }
  const name = cString('made')
  using links = new HardLinks(cString('.links'))
  links.within(cloneFd)
  const old = make()
  if (old === undefined) return t.fail()
  writeFileSync(join(mounted, 'clone', 'made'), '')
  links.keep(old, cloneFd, name)
  t.true(links.repeat(old, cloneFd, cString('again')))
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    rmSync(file)
    rmSync(other)
    // Behind a tick of the clock that times of birth are taken from.
    execFileSync('/bin/sleep', ['0.02'])
    const status = make()
    if (status?.inode !== old.inode) continue
    t.false(links.repeat(status, cloneFd, cString('new')))
    return
  }
  t.fail('no number came again')
})

test('files whose numbers are beyond what a double holds stay files of their own', async (t) => {
  if (!canMount(t)) return t.pass()
  const { tree, beside } = treeWithLargeNumbers(t)
  const [sourceFd, parentFd] = [open(t, tree), open(t, beside)]
  const task = { subject: 'clone', kind: 'clone', sourceFd, parentFd, name: cString('clone'), mode: 'copy' } as const
  await runTreeTask(task, calm)
  const clone = join(beside, 'clone')
  for (let file = 0; file < 20; file += 1) {
    t.is(readFileSync(join(clone, `g${file}`), 'utf8'), `f${file}`)
    t.is(statSync(join(clone, `f${file}`)).ino, statSync(join(clone, `g${file}`)).ino)
  }
  t.false(readdirSync(clone).some((name) => name.startsWith('.links')))
})
