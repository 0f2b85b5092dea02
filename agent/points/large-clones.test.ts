import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { canMount, sharedMounts } from '../../test/harness/loop-mount.ts'
import type { LargeFile } from '../archive/large-file.ts'
import { LARGE_BYTES } from '../native/reflink.ts'
import { Status } from '../native/status.ts'
import { makeClones, placeClones, pruneClones } from './large-clones.ts'

const shared = sharedMounts(test)

/** A tree that lives, an image of it, and a dataset for clones. */
function open(t: ExecutionContext) {
  const home = join(shared('xfs'), crypto.randomUUID())
  const opened: number[] = []
  const folder = (name: string) => {
    mkdirSync(join(home, name), { recursive: true })
    const fd = openSync(join(home, name), 'r')
    opened.push(fd)
    return fd
  }
  t.teardown(() => opened.forEach((fd) => void closeSync(fd)))
  const [livingFd, imageFd, rootFd] = [folder('living'), folder('image'), folder('kept')]
  const opening = (fd: number) => {
    opened.push(fd)
    return fd
  }
  return { home, livingFd, imageFd, rootFd, opening }
}

/** A file that lives, its clone in the image, and what an archive of the image tells. */
function make(home: string, path: string): LargeFile {
  for (const tree of ['living', 'image']) {
    mkdirSync(join(home, tree, path, '..'), { recursive: true })
    writeFileSync(join(home, tree, path), '')
    truncateSync(join(home, tree, path), LARGE_BYTES)
  }
  const { ino } = statSync(join(home, 'living', path))
  const fd = openSync(join(home, 'image', path), 'r')
  const { inode, changed } = new Status().readDescriptor(fd)
  closeSync(fd)
  return { path, inode: ino, changed: '1.5?', sizeBytes: LARGE_BYTES, read: { inode, changed } }
}

const clonesIn = (home: string) => readdirSync(join(home, 'kept', 'files')).toSorted()

test('a clone stays as long as its file lives where it did, large and under one name, and was not written anew', async (t) => {
  if (!canMount(t)) return t.pass()
  const { home, livingFd, imageFd, rootFd, opening } = open(t)
  const names = [
    'stays',
    'd/stays',
    'moved',
    'gone',
    'short',
    'linked',
    'replaced',
    'directory',
    'link',
    'written',
    'd-moved/a',
  ]
  const files = new Map(names.map((name) => [name, make(home, name)]))
  const folderFd = opening(makeClones(rootFd))
  const all = { files: [...files.values()], isAll: true }
  t.is(await placeClones(folderFd, { imageFd, written: all, held: 0 }), names.length)
  t.deepEqual(clonesIn(home), [...files.values()].map(({ inode }) => String(inode)).toSorted())
  const living = (name: string) => join(home, 'living', name)
  renameSync(living('moved'), living('elsewhere'))
  renameSync(living('d-moved'), living('d-elsewhere'))
  for (const name of ['gone', 'directory', 'link']) rmSync(living(name))
  truncateSync(living('short'), LARGE_BYTES - 1)
  linkSync(living('linked'), living('second'))
  writeFileSync(living('new'), Buffer.alloc(LARGE_BYTES))
  renameSync(living('new'), living('replaced'))
  mkdirSync(living('directory'))
  symlinkSync('stays', living('link'))
  writeFileSync(join(home, 'kept', 'files', '12345'), 'nobody noted anything')
  const againFd = opening(makeClones(rootFd))
  const rewritten = files.get('written')
  if (rewritten === undefined) return t.fail()
  t.is(await pruneClones(againFd, { livingFd, written: { files: [rewritten], isAll: true } }), 2)
  const expected = ['stays', 'd/stays'].map((name) => String(files.get(name)?.inode)).toSorted()
  t.deepEqual(clonesIn(home), expected)
})

test('nothing is kept that is not what was read, or of which nobody knows which', async (t) => {
  if (!canMount(t)) return t.pass()
  const { home, imageFd, rootFd, opening } = open(t)
  const [good, changed, cut, twice] = ['good', 'changed', 'cut', 'twice'].map((name) => make(home, name))
  if (!good || !changed || !cut || !twice) return t.fail()
  const again = { ...make(home, 'again'), inode: twice.inode }
  const lost = { ...make(home, 'd/lost'), path: 'd/other' }
  const linked = make(home, 'linked')
  linkSync(join(home, 'image', 'linked'), join(home, 'image', 'second'))
  truncateSync(join(home, 'image', 'changed'), LARGE_BYTES)
  truncateSync(join(home, 'image', 'cut'), 1)
  symlinkSync('good', join(home, 'image', 'd', 'other'))
  const folderFd = opening(makeClones(rootFd))
  const files = [good, changed, cut, twice, again, lost, linked]
  t.is(await placeClones(folderFd, { imageFd, written: { files, isAll: true }, held: 0 }), 1)
  t.deepEqual(clonesIn(home), [String(good.inode)])
})
