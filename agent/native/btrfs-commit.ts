import { fileSystemId, settled, syncFileSystem } from './file-system.ts'
import { libc } from './libc.ts'

/** linux/btrfs.h. Their argument is the transaction's number, 64 bits. */
const START_SYNC = 0x80089418
const WAIT_SYNC = 0x40089416

/**
 * START_SYNC leaves the commit to a thread of the kernel, and that one does not hear of it while it ends another commit: then it begins with
 * its next round, up to 30 seconds later (Linux 6.18, fs/btrfs: transaction_kthread; four at a time took 31 s). Calls for one
 * subvolume go one after the other for that. One that does not begin is asked for again, as the thread sleeps by then; in the end a sync
 * outruns it, which commits by itself.
 */
const AGAIN_MS = 5
const LATE_MS = 100

/** Of one subvolume. `next` are those who came while one was under way: it may have begun before what they made. */
interface Commits {
  running: Promise<void>
  next: Promise<void> | undefined
}
const commits = new Map<string, Commits>()

/**
 * Puts all names, shared blocks and attributes that were made until now on disk, in one transaction; as a rule nobody's dirty data is
 * waited for, so what was written into a file needs its own fsync. Those who ask while one is under way share the next.
 * @param fd of anything on the file system, not O_PATH; open until this resolves
 */
export function commitTransaction(fd: number): Promise<void> {
  const id = fileSystemId(fd)
  const known = commits.get(id)
  if (known === undefined) {
    const first: Commits = { running: Promise.resolve(), next: undefined }
    commits.set(id, first)
    return begin(id, first, fd)
  }
  known.next ??= known.running
    .catch(() => undefined)
    .then(() => {
      known.next = undefined
      return begin(id, known, fd)
    })
  return known.next
}

function begin(id: string, of: Commits, fd: number): Promise<void> {
  of.running = commit(fd).finally(() => {
    if (of.next === undefined) commits.delete(id)
  })
  return of.running
}

async function commit(fd: number): Promise<void> {
  const number = Buffer.alloc(8)
  // Each is over before the descriptor may be closed.
  const started = [start(fd, number)]
  if (await isLate(started, AGAIN_MS)) {
    started.push(start(fd, Buffer.alloc(8)))
    if (await isLate(started, LATE_MS)) started.push(syncFileSystem(fd))
  }
  await Promise.all(started)
  await settled('WAIT_SYNC', (done) => libc().ioctlBuffer.async(fd, WAIT_SYNC, number, done))
}

/** Resolves when the transaction of this moment is being committed, and its number is known. */
function start(fd: number, number: Buffer): Promise<void> {
  return settled('START_SYNC', (done) => libc().ioctlBuffer.async(fd, START_SYNC, number, done))
}

async function isLate(started: readonly Promise<void>[], afterMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<true>((resolve) => {
    timer = setTimeout(() => resolve(true), afterMs)
  })
  try {
    return await Promise.race([Promise.allSettled(started).then(() => false), late])
  } finally {
    clearTimeout(timer)
  }
}
