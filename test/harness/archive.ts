import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { bytePath } from '../../agent/archive/byte-path.ts'
import { Chain } from '../../agent/archive/chain.ts'
import { extract } from '../../agent/archive/extract.ts'
import { LocalSink } from '../../agent/archive/local-sink.ts'
import { Point } from '../../agent/archive/point.ts'
import { LocalPointFiles } from '../../agent/archive/range-source.ts'
import { type WriteRequest, type WrittenArchive, writeArchive } from '../../agent/archive/write-archive.ts'
import { openDriver } from '../../agent/drivers/registry.ts'
import { canMount } from './loop-mount.ts'
import { lacksTool } from './system-packages.ts'

/** Whether trees with owners, devices and ACLs can be made and looked at here; logs why not, so that a skip is seen. */
export function canArchive(t: Pick<ExecutionContext, 'log'>): boolean {
  const lack = lacksTool('bsdtar', 'setfacl', 'getfattr', 'python3')
  if (lack !== undefined) t.log(`SKIPPED: ${lack}`)
  return lack === undefined && canMount(t)
}

export const calm = { signal: new AbortController().signal, progress: () => undefined }

/** Everything a tree can hold that an archiver may trip over. Made by other tools than ours; as root. */
const NASTY = `
import os, sys
os.chdir(sys.argv[1])
def w(n, b=b'x'):
    with open(n, 'wb') as f: f.write(b)
w(b'plain', b'hello'); w(b'empty', b''); w(b'new\\nline'); w(b'inv\\xff\\xfealid', b'bytes'); w('\\u00fcn\\u00ef'.encode(), b'u')
w(b'quote"back\\\\slash', b'q'); w(b' leading', b'l'); w(b'-dash', b'd'); w(b'a.b'); w(b'a-b'); os.mkdir('a'); w(b'a/x')
os.makedirs('d/e/f'); os.mkdir('emptydir')
w('d/' + 'n' * 250, b'long'); w(b'd/' + b'\\xff' * 250, b'longinv')
p = 'd/' + '/'.join(['k' * 200] * 3); os.makedirs(p); w(p + '/deep', b'deep')
os.link('plain', 'hard1'); os.link('plain', 'd/hard2')
for a, b in (('sym', 'plain'), ('abs', '/etc/passwd'), ('dangling', '../../x'), ('longsym', 't' * 300), (b'badsym', b'\\xff' * 120)): os.symlink(b, a)
os.link('sym', 'hardsym', follow_symlinks=False)
with open('sparse', 'wb') as f:
    f.seek(5 << 30); f.write(b'end'); f.seek(1 << 20); f.write(b'mid' * 5000)
with open('holeend', 'wb') as f: f.write(b'a' * 4096); f.truncate(1 << 20)
with open('allhole', 'wb') as f: f.truncate(1 << 20)
with open(b'sp\\xffarse', 'wb') as f: f.seek(1 << 20); f.write(b'end')
w('big', os.urandom(9 << 20)); os.link('big', 'bigger')
os.mkfifo('fifo'); os.mknod('char', 0o600 | 0o020000, os.makedev(1, 3)); os.mknod('block', 0o600 | 0o060000, os.makedev(7, 300))
os.setxattr('plain', 'user.a', b'\\x00\\xff v\\n'); os.setxattr('d', 'user.dir', b'1'); os.setxattr('sym', 'trusted.t', b'z', follow_symlinks=False)
os.setxattr('empty', 'security.capability', bytes.fromhex('0100000200200000000000000000000000000000'))
os.system('setfacl -m u:1234:rw,g:77:r plain; setfacl -d -m u:99:rwx d; chown 12345:54321 big; chown -h 5:6 abs; chmod 4755 hard1; chmod 1777 emptydir; chmod 0 a.b')
os.chown('a-b', 3000000, 3000001)
os.system('touch -d "2030-01-01 00:00:00.987654321" fifo; touch -h -d "1999-01-01 00:00:00.5" sym; touch -d "2001-02-03 04:05:06.000000007" d .')
`

export function makeNastyTree(directory: string): void {
  mkdirSync(directory, { recursive: true })
  execFileSync('/usr/bin/python3', ['-c', NASTY, directory])
}

/** Says all of a tree in sorted lines, by find, sha256sum, getfattr and getfacl: none of our code. */
const WALKER = `
cd "$1" || exit 1
find . -printf '%y %m %U %G %n %T@ %l %p' -a \\( -type f -printf ' %s' -o -true \\) -printf '\\0' | sort -z | tr '\\n\\0' '?\\n'
find . -type f -size -1000000k -print0 | sort -z | xargs -0r sha256sum
find . -print0 | sort -z | xargs -0r getfattr -h -d -m - -e hex 2>/dev/null
find . -not -type l -print0 | sort -z | xargs -0r getfacl -n 2>/dev/null
find . -type b -exec stat -c '%n %t %T' {} + -o -type c -exec stat -c '%n %t %T' {} + | sort
# Which names are one file.
find . -type f -links +1 -printf '%p %i\\0' | sort -z | tr '\\n\\0' '?\\n' | awk '{ i = $NF; $NF = ""; if (!(i in g)) g[i] = ++n; print g[i], $0 }'
`

export function describeTree(directory: string): string {
  return execFileSync('/bin/sh', ['-c', WALKER, 'walker', directory], {
    env: { LC_ALL: 'C', PATH: '/usr/bin:/bin' },
    maxBuffer: 2 ** 28,
  }).toString('latin1')
}

/** The lines in which two descriptions differ: for messages that can be read. */
export function differences(found: string, expected: string): readonly string[] {
  const numbered = (text: string) => {
    const seen = new Map<string, number>()
    return text.split('\n').map((line) => {
      const times = (seen.get(line) ?? 0) + 1
      seen.set(line, times)
      return times === 1 || line === '' ? line : `${line} (${times})`
    })
  }
  const [ours, theirs] = [numbered(found), numbered(expected)]
  const [known, wanted] = [new Set(ours), new Set(theirs)]
  const extra = ours.filter((line) => !wanted.has(line)).map((line) => `found ${line.slice(0, 200)}`)
  const missing = theirs.filter((line) => !known.has(line)).map((line) => `expected ${line.slice(0, 200)}`)
  return [...extra, ...missing]
}

/** As `differences`, without extended attributes of users' that are there although they should not be: tar leaves those of directories. */
export function differencesByScript(found: string, expected: string): readonly string[] {
  return differences(found, expected).filter((line) => !/^found (user\.|# file: )/.test(line))
}

/** A dataset in a new pool of its own, and a directory beside it for points. @param pool.on a directory of the file system that the driver is for */
export async function openDataset(pool: { readonly on: string; readonly driver: 'btrfs' | 'reflink' | 'copy' }) {
  const path = join(pool.on, randomUUID())
  const driver = await openDriver({ name: 'a', path, driver: pool.driver })
  const source = randomUUID()
  const { mountpoint: live } = await driver.create(source, calm)
  const home = join(path, 'backups')
  mkdirSync(home)
  return { driver, source, live, home }
}

/** Writes a point of the tree into `<points>/<name>`. */
export async function writePoint(
  place: { readonly tree: string; readonly points: string; readonly name: string },
  request: Partial<WriteRequest> = {},
): Promise<WrittenArchive> {
  const rootFd = openSync(place.tree, 'r')
  const sink = new LocalSink(place.points, place.name)
  try {
    const settings = { subject: 'backup', compression: 'zstd', scratch: place.points, frameBytes: 2 ** 20 } as const
    return await writeArchive({ ...settings, rootFd, sink, ...request }, calm)
  } finally {
    closeSync(rootFd)
  }
}

export async function openChain(points: string, names: readonly string[]): Promise<Chain> {
  const opened: Point[] = []
  for (const name of names) opened.push(await Point.open(new LocalPointFiles(join(points, name)), calm.signal))
  return Chain.of(opened)
}

export async function closeChain(chain: Chain): Promise<void> {
  for (const point of chain.points) await point[Symbol.asyncDispose]()
}

/** Extracts into a new directory. */
export async function extractTo(
  directory: string,
  from: { readonly points: string; readonly names: readonly string[]; readonly path?: string },
  policy: { readonly devices: 'make' | 'refuse'; readonly symlinks: 'keep' | 'inside' } = {
    devices: 'make',
    symlinks: 'keep',
  },
) {
  mkdirSync(directory)
  const rootFd = openSync(directory, 'r')
  const chain = await openChain(from.points, from.names)
  try {
    const request = { subject: 'restore', chain, path: bytePath(from.path ?? ''), rootFd, policy, scratch: from.points }
    return await extract(request, calm)
  } finally {
    await closeChain(chain)
    closeSync(rootFd)
  }
}

/** Runs a point's own script with nothing in PATH but what it says it needs. */
export function runRestoreScript(point: string, into: string, bin: string): void {
  mkdirSync(bin, { recursive: true })
  for (const tool of ['tar', 'zstd', 'sha256sum']) {
    if (!existsSync(join(bin, tool))) symlinkSync(`/usr/bin/${tool}`, join(bin, tool))
  }
  mkdirSync(into)
  execFileSync('/bin/sh', [join(point, 'restore.sh'), into], { env: { PATH: bin }, stdio: 'pipe' })
}
