import { once } from 'node:events'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import { temporaryDirectory } from '../../../test/harness/loop-mount.ts'
import { cString, libc } from '../../native/libc.ts'
import { Status } from '../../native/status.ts'
import { newAheadMemory, OpenAhead, stopAhead } from './open-ahead.ts'

const FILES = 700

async function open(t: ExecutionContext) {
  const directory = temporaryDirectory(t)
  const names = Array.from({ length: FILES }, (_, index) => `f${index}`)
  for (const name of names) writeFileSync(join(directory, name), `content of ${name}`)
  const directoryFd = openSync(directory, 'r')
  t.teardown(() => closeSync(directoryFd))
  const memory = newAheadMemory()
  const worker = new Worker(new URL('./open-worker.ts', import.meta.url), { workerData: memory })
  t.teardown(() => stopAhead(memory))
  const files = new OpenAhead(memory, () => undefined)
  while (!files.isThere) await new Promise(setImmediate)
  return { directory, names, directoryFd, worker, files }
}

/** Those below the directory. */
function openBelow(directory: string): number {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return '' // that of the listing itself
    }
  })
  return links.filter((path) => path.startsWith(`${directory}/`)).length
}

test('files come in their order, each with its status, and what cannot be opened is left to whoever takes it', async (t) => {
  const { directory, names, directoryFd, worker, files } = await open(t)
  mkdirSync(join(directory, 'directory'))
  const withAttribute = openSync(join(directory, 'f5'), 'r')
  libc().fsetxattr(withAttribute, cString('user.x'), Buffer.from('y'), 1, 0)
  closeSync(withAttribute)
  const run = [...names.slice(0, 300), 'missing', 'directory', ...names.slice(300)]
  const status = new Status()
  for (const part of [run, run.slice(0, 3)]) {
    files.begin(directoryFd, (index) => part[index])
    for (const name of part) {
      t.true(files.isRunning)
      const { fd, hasNoAttributes } = files.take(status)
      if (name === 'missing') {
        t.true(fd < 0)
        continue
      }
      t.is(status.inode, statSync(join(directory, name)).ino)
      t.is(hasNoAttributes, name !== 'f5', name)
      if (name !== 'directory') t.is(readFileSync(fd, 'utf8'), `content of ${name}`)
      closeSync(fd)
    }
    t.false(files.isRunning)
  }
  const exited = once(worker, 'exit')
  files.close()
  await exited
  t.is(openBelow(directory), 0)
})

test('whoever stops in the middle of a run leaves nothing open', async (t) => {
  const { directory, names, directoryFd, worker, files } = await open(t)
  const status = new Status()
  files.begin(directoryFd, (index) => names[index])
  for (const name of names.slice(0, 100)) {
    const { fd } = files.take(status)
    t.is(readFileSync(fd, 'utf8'), `content of ${name}`)
    closeSync(fd)
  }
  const exited = once(worker, 'exit')
  files.close()
  t.false(files.isThere)
  await exited
  t.is(openBelow(directory), 0)
})
