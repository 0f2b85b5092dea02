import { closeSync, openSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { cString } from '../native/libc.ts'
import { Status } from '../native/status.ts'
import { StampTable, StampWriter, sealStamps } from './stamps.ts'

const SETTLED_MS = 1_000_000_000_000
const look = (inode: number, changedNanoseconds: bigint) => ({ inode, changedNanoseconds })

function begin(t: ExecutionContext) {
  const path = join(temporaryDirectory(t), 'stamps')
  writeFileSync(path, '')
  const fd = openSync(path, 'r+')
  t.teardown(() => closeSync(fd))
  const root = new Status().readName(-100, cString('/'))
  if (root === undefined) throw new Error('no root')
  return { path, fd, root, writer: new StampWriter(fd, SETTLED_MS) }
}

test('what is found again is the live number and time, of more files than one run holds', (t) => {
  const { path, fd, root, writer } = begin(t)
  const files = 1_200_000
  const cloneOf = (file: number) => 1_000 + ((file * 7_919) % files) * 3
  const changedOf = (file: number) => BigInt(file) * 1_000_000_007n - 500_000_000_000_000_000n
  for (let file = 0; file < files; file += 1) {
    const live = look(file + 5, changedOf(file))
    writer.add(look(cloneOf(file), 0n), live, live)
  }
  writer.finish()
  sealStamps(fd, root, 42)
  t.is(statSync(path).size, 64 + files * 24)
  const before = process.memoryUsage().arrayBuffers
  const table = new StampTable(fd, root)
  t.is(table.finishedNanoseconds, 42_000_000n)
  for (let file = 0; file < files; file += 997) t.is(table.find(cloneOf(file))?.inode, file + 5)
  for (const inode of [0, 999, 1_001, 1_000 + files * 3, 2 ** 50]) t.is(table.find(inode), undefined)
  for (let file = 0; file < files; file += 997) t.is(table.find(cloneOf(file))?.inode, file + 5)
  t.is(table.find(cloneOf(0))?.changed, '-500000000.000000000')
  t.is(table.find(cloneOf(500_000_001 % files))?.inode, (500_000_001 % files) + 5)
  t.true(process.memoryUsage().arrayBuffers - before < 30 * 2 ** 20)
})

test('of a file that changed late, or while it was cloned, no ctime is kept', (t) => {
  const { fd, root, writer } = begin(t)
  const settled = BigInt(SETTLED_MS) * 1_000_000n - 1n
  writer.add(look(1, 0n), look(11, settled), look(11, settled))
  writer.add(look(2, 0n), look(12, settled + 1n), look(12, settled + 1n))
  writer.add(look(3, 0n), look(13, settled - 5n), look(13, settled - 4n))
  writer.add(look(4, 0n), look(14, settled), look(15, settled))
  writer.finish()
  sealStamps(fd, root, 1)
  const table = new StampTable(fd, root)
  t.deepEqual(
    [1, 2, 3, 4].map((inode) => table.find(inode)?.changed === undefined),
    [false, true, true, true],
  )
})

test('stamps that are not sealed, cut, or of another tree are refused', (t) => {
  const { path, fd, root, writer } = begin(t)
  const live = look(5, 1n)
  writer.add(look(1, 0n), live, live)
  writer.finish()
  t.throws(() => new StampTable(fd, root), { code: 'corrupt' })
  const other = new Status().readName(-100, cString('/proc/self/stat'))
  if (other === undefined) throw new Error('no /proc')
  sealStamps(fd, root, 1)
  t.notThrows(() => new StampTable(fd, root))
  t.throws(() => new StampTable(fd, other), { code: 'conflict' })
  truncateSync(path, 70)
  t.throws(() => new StampTable(fd, root), { code: 'corrupt' })
})
