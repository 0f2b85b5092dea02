import { execFileSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import type { Progress } from '../../shared/job-event.ts'
import { treeWithLargeNumbers } from '../../test/harness/large-numbers.ts'
import { canMount, mountLoop, temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { cString } from '../native/libc.ts'
import { runTreeTask } from './tree-task.ts'

const calm = { signal: new AbortController().signal, progress: () => undefined }

function open(t: ExecutionContext, path: string): number {
  const fd = openSync(path, 'r')
  t.teardown(() => closeSync(fd))
  return fd
}

test('a directory swapped for a link while the tree is cloned never leads out', async (t) => {
  const directory = temporaryDirectory(t)
  const outside = temporaryDirectory(t)
  writeFileSync(join(outside, 'secret'), 'secret')
  const tree = join(directory, 'tree')
  mkdirSync(join(tree, 'd'), { recursive: true })
  writeFileSync(join(tree, 'd', 'inside'), 'inside')
  symlinkSync(outside, join(directory, 'link'))
  const stop = new SharedArrayBuffer(4)
  const swap = `
    const { renameSync } = require('node:fs')
    const { workerData: { d, link, moved, stop } } = require('node:worker_threads')
    while (Atomics.load(new Int32Array(stop), 0) === 0) {
      renameSync(d, moved); renameSync(link, d); renameSync(d, link); renameSync(moved, d)
    }`
  const paths = { d: join(tree, 'd'), link: join(directory, 'link'), moved: join(directory, 'moved') }
  const swapper = new Worker(swap, { eval: true, workerData: { ...paths, stop } })
  const ended = new Promise((resolve) => swapper.once('exit', resolve))
  const [sourceFd, parentFd] = [open(t, tree), open(t, directory)]
  for (let round = 0; round < 6; round += 1) {
    const name = cString(`clone-${round}`)
    await runTreeTask({ subject: 'clone', kind: 'clone', sourceFd, parentFd, name, mode: 'copy' }, calm).catch(
      () => undefined,
    )
  }
  Atomics.store(new Int32Array(stop), 0, 1)
  await ended
  // `find` follows no link: whatever was copied out of `outside` would show.
  const copied = execFileSync('/usr/bin/find', [directory, '-name', 'secret']).toString()
  t.is(copied, '')
})

test('an abort ends the copy of one large file within a moment', async (t) => {
  const directory = temporaryDirectory(t)
  const tree = join(directory, 'tree')
  mkdirSync(tree)
  execFileSync('/usr/bin/fallocate', ['-l', '20G', join(tree, 'large')])
  const cancel = new AbortController()
  let abortedMs = 0
  const seen: Progress[] = []
  const watch = {
    signal: cancel.signal,
    progress: (progress: Progress) => {
      seen.push(progress)
      if ((progress.bytes ?? 0) === 0) return
      abortedMs = performance.now()
      cancel.abort()
    },
  }
  const [sourceFd, parentFd] = [open(t, tree), open(t, directory)]
  const task = { subject: 'clone', kind: 'clone', sourceFd, parentFd, name: cString('clone'), mode: 'copy' } as const
  await t.throwsAsync(runTreeTask(task, watch), { code: 'cancelled' })
  const tookMs = performance.now() - abortedMs
  t.log(`${Math.round(tookMs)} ms`)
  t.true(tookMs < 10_000) // some 30 ms on a quiet machine; tests share theirs
  t.true(seen.length > 0)
})

test('a directory cloned into itself does not hold its clone', async (t) => {
  const tree = temporaryDirectory(t)
  mkdirSync(join(tree, 'd'))
  const fd = open(t, tree)
  await runTreeTask(
    { subject: 'c', kind: 'clone', sourceFd: fd, parentFd: fd, name: cString('clone'), mode: 'share' },
    calm,
  )
  t.deepEqual(readdirSync(join(tree, 'clone')), ['d'])
})

test('removal follows no link and stops at a mount point', async (t) => {
  const directory = temporaryDirectory(t)
  const tree = join(directory, 'tree')
  const kept = join(directory, 'kept')
  mkdirSync(join(tree, 'd', 'mnt'), { recursive: true })
  writeFileSync(kept, 'kept')
  symlinkSync(directory, join(tree, 'link'))
  const task = { subject: 'remove', kind: 'remove', parentFd: open(t, directory), name: cString('tree') } as const
  if (canMount(t)) {
    execFileSync('/bin/mount', ['-t', 'tmpfs', 'none', join(tree, 'd', 'mnt')])
    writeFileSync(join(tree, 'd', 'mnt', 'precious'), '')
    await t.throwsAsync(runTreeTask(task, calm), { code: 'conflict' })
    t.true(existsSync(join(tree, 'd', 'mnt', 'precious')))
    execFileSync('/bin/umount', [join(tree, 'd', 'mnt')])
  }
  await runTreeTask(task, calm)
  t.false(existsSync(tree))
  t.is(readFileSync(kept, 'utf8'), 'kept')
  await t.notThrowsAsync(runTreeTask(task, calm))
})

test('a mount point inside the tree is refused, not skipped', async (t) => {
  if (!canMount(t)) return t.pass()
  const directory = temporaryDirectory(t)
  const mountPoint = join(directory, 'tree', 'mnt')
  mkdirSync(mountPoint, { recursive: true })
  execFileSync('/bin/mount', ['-t', 'tmpfs', 'none', mountPoint])
  t.teardown(() => execFileSync('/bin/umount', [mountPoint]))
  const [sourceFd, parentFd] = [open(t, join(directory, 'tree')), open(t, directory)]
  const task = { subject: 'clone', kind: 'clone', sourceFd, parentFd, name: cString('clone'), mode: 'share' } as const
  await t.throwsAsync(runTreeTask(task, calm), { code: 'refused', message: /mount point/ })
})

test('a path longer than the kernel takes at once is walked, hard links included', async (t) => {
  const directory = temporaryDirectory(t)
  const script = `import os,sys
os.chdir(sys.argv[1]); os.mkdir('tree'); os.chdir('tree')
open('one','w').close()
for i in range(40):
    os.mkdir('d'*200); os.chdir('d'*200)
fd=os.open('${directory}/tree', os.O_RDONLY)
os.link('one','deep',src_dir_fd=fd)
os.link('one','again',src_dir_fd=fd)`
  execFileSync('/usr/bin/python3', ['-c', script, directory])
  const [sourceFd, parentFd] = [open(t, join(directory, 'tree')), open(t, directory)]
  const task = { subject: 'clone', kind: 'clone', sourceFd, parentFd, name: cString('clone'), mode: 'copy' } as const
  t.is((await runTreeTask(task, calm)).files, 44)
  t.is(statSync(join(directory, 'clone', 'one')).nlink, 3)
  await runTreeTask({ subject: 'remove', kind: 'remove', parentFd, name: cString('clone') }, calm)
  await runTreeTask({ subject: 'remove', kind: 'remove', parentFd, name: cString('tree') }, calm)
  t.deepEqual(readdirSync(directory), [])
})

test('a file cut short while it is copied ends the copy', async (t) => {
  const directory = temporaryDirectory(t)
  writeFileSync(join(directory, 'a'), 'short')
  writeFileSync(join(directory, 'b'), '')
  const sourceFd = open(t, join(directory, 'a'))
  const targetFd = openSync(join(directory, 'b'), 'r+')
  t.teardown(() => closeSync(targetFd))
  truncateSync(join(directory, 'a'), 3)
  await runTreeTask({ subject: 'c', kind: 'copy', sourceFd, targetFd, sizeBytes: 5, allocatedBytes: 4_096 }, calm)
  t.is(readFileSync(join(directory, 'b'), 'utf8'), 'sho')
})

test('files with several names have them in a clone too, whatever kind they are, and nothing is left beside them', async (t) => {
  const directory = temporaryDirectory(t)
  const script = `import os,sys
os.chdir(sys.argv[1]); os.makedirs('tree/d/e'); os.chdir('tree')
open('a','w').write('a'); open('alone','w').write('alone'); os.symlink('a','s'); os.mkfifo('f')
for one in 'asf':
    os.link(one,'d/'+one,follow_symlinks=False); os.link(one,'d/e/another '+one,follow_symlinks=False)
os.link('d/a',b'\\xff'); os.mkdir('.links'); os.utime('.',(1,1))`
  execFileSync('/usr/bin/python3', ['-c', script, directory])
  const [sourceFd, parentFd] = [open(t, join(directory, 'tree')), open(t, directory)]
  const task = { subject: 'clone', kind: 'clone', sourceFd, parentFd, name: cString('clone'), mode: 'copy' } as const
  t.is((await runTreeTask(task, calm)).files, 15)
  const [tree, clone] = ['tree', 'clone'].map((name) => {
    const all = ['-printf', '%P %y %n %m %T@ %i\n']
    const lines = execFileSync('/usr/bin/find', [join(directory, name), ...all])
      .toString('latin1')
      .trim()
      .split('\n')
    const numbers = new Map<string, number>()
    // Inodes by the order in which they are seen.
    return lines.toSorted().map((line) => {
      const inode = line.slice(line.lastIndexOf(' ') + 1)
      numbers.set(inode, numbers.get(inode) ?? numbers.size)
      return `${line.slice(0, -inode.length)}${numbers.get(inode)}`
    })
  })
  t.deepEqual(clone, tree)
  t.is(statSync(join(directory, 'clone', 'a')).nlink, 4)
})

test('a file with as many names as the file system allows has them in its clone', async (t) => {
  if (!canMount(t)) return t.pass()
  const mounted = mountLoop(t, 'ext4')
  const script = `import os,sys
os.chdir(sys.argv[1]); os.mkdir('tree'); os.chdir('tree'); open('0','w').close(); names=1
try:
    while True: os.link('0',str(names)); names+=1
except OSError as error:
    assert error.errno==31
print(names)`
  const names = Number(execFileSync('/usr/bin/python3', ['-c', script, mounted]).toString())
  const [sourceFd, parentFd] = [open(t, join(mounted, 'tree')), open(t, mounted)]
  const task = { subject: 'clone', kind: 'clone', sourceFd, parentFd, name: cString('clone'), mode: 'copy' } as const
  await runTreeTask(task, calm)
  t.is(statSync(join(mounted, 'clone', '0')).nlink, names)
  t.is(readdirSync(join(mounted, 'clone')).length, names)
})

test('links and fifos that come and go while a tree is cloned fail no clone', async (t) => {
  const directory = temporaryDirectory(t)
  const [tree, away] = [join(directory, 'tree'), join(directory, 'away')]
  for (const path of [tree, away]) mkdirSync(path)
  const names = Array.from({ length: 100 }, (_, entry) => [`link ${entry}`, `fifo ${entry}`]).flat()
  for (const name of names)
    if (name.startsWith('link')) symlinkSync('nowhere', join(tree, name))
    else execFileSync('/usr/bin/mkfifo', [join(tree, name)])
  const stop = new SharedArrayBuffer(4)
  const churn = `
    const { renameSync } = require('node:fs')
    const { workerData: { tree, away, names, stop } } = require('node:worker_threads')
    for (let at = 0; Atomics.load(new Int32Array(stop), 0) === 0; at = (at + 1) % names.length) {
      const [here, there] = [tree, away].map((path) => path + '/' + names[at])
      renameSync(here, there); renameSync(there, here)
    }`
  const worker = new Worker(churn, { eval: true, workerData: { tree, away, names, stop } })
  const ended = new Promise((resolve) => worker.once('exit', resolve))
  const [sourceFd, parentFd] = [open(t, tree), open(t, directory)]
  try {
    for (let round = 0; round < 20; round += 1) {
      const task = {
        subject: 'c',
        kind: 'clone',
        sourceFd,
        parentFd,
        name: cString(`c${round}`),
        mode: 'copy',
      } as const
      await t.notThrowsAsync(runTreeTask(task, calm))
    }
  } finally {
    Atomics.store(new Int32Array(stop), 0, 1)
    await ended
  }
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

test('what may not be changed goes with its tree where that is asked for, and nothing beside it changes', async (t) => {
  if (!canMount(t)) return t.pass()
  const directory = mountLoop(t, 'ext4')
  const [tree, beside] = [join(directory, 'tree'), join(directory, 'beside')]
  for (const path of [join(tree, 'shut', 'below'), join(tree, 'empty'), beside]) mkdirSync(path, { recursive: true })
  for (const path of [join(tree, 'file'), join(tree, 'log'), join(tree, 'shut', 'a'), join(beside, 'file')])
    writeFileSync(path, 'x')
  symlinkSync(join(beside, 'file'), join(tree, 'shut', 'link'))
  const chattr = (...args: string[]) => execFileSync('/usr/bin/chattr', args)
  t.teardown(() => chattr('-R', '-f', '-i', '-a', directory))
  chattr('+i', join(tree, 'file'), join(tree, 'empty'), join(beside, 'file'), beside)
  chattr('+a', join(tree, 'log'))
  chattr('+i', join(tree, 'shut', 'a'), join(tree, 'shut'))
  const task = { subject: 'delete', kind: 'remove', parentFd: open(t, directory), name: cString('tree') } as const
  await t.throwsAsync(runTreeTask(task, calm), { code: 'refused' })
  await runTreeTask({ ...task, unlocks: true }, calm)
  t.false(existsSync(tree))
  const flags = execFileSync('/usr/bin/lsattr', ['-d', beside, join(beside, 'file')]).toString()
  t.is(flags.match(/^[-a-z]*i/gm)?.length, 2)
})
