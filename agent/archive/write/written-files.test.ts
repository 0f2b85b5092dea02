import { chmodSync, linkSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { extractTo, writePoint } from '../../../test/harness/archive.ts'
import { treeWithLargeNumbers } from '../../../test/harness/large-numbers.ts'
import { canMount, temporaryDirectory } from '../../../test/harness/loop-mount.ts'
import { Status } from '../../native/status.ts'
import { LinkTable } from './link-table.ts'
import { openUnlinked } from './spool.ts'
import { findFile, rememberFile } from './written-files.ts'

test('files whose numbers are beyond what a double holds are archived as files of their own', async (t) => {
  if (!canMount(t)) return t.pass()
  const { tree, beside } = treeWithLargeNumbers(t)
  const [points, back] = [join(beside, 'points'), join(beside, 'back')]
  mkdirSync(points)
  await writePoint({ tree, points, name: 'p0' })
  await extractTo(back, { points, names: ['p0'] })
  for (let file = 0; file < 20; file += 1)
    for (const name of [`f${file}`, `g${file}`]) t.is(readFileSync(join(back, name), 'utf8'), `f${file}`)
  t.is(statSync(join(back, 'f0')).ino, statSync(join(back, 'g0')).ino)
})

test('what has the number of a file in the archive, and another time of change, is not that file', (t) => {
  const directory = temporaryDirectory(t)
  const file = join(directory, 'file')
  writeFileSync(file, '')
  linkSync(file, join(directory, 'other'))
  const links = new LinkTable(openUnlinked(directory))
  const fd = openSync(file, 'r')
  const status = new Status().readDescriptor(fd)
  rememberFile(links, status, { path: 'a file', offset: 7, changed: status.changed })
  t.like(findFile(links, status, status.changed), { path: 'a file', offset: 7 })
  chmodSync(file, 0o600)
  const later = new Status().readDescriptor(fd)
  t.is(findFile(links, later, later.changed), undefined)
})
