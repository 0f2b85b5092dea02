import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { watch } from '../../test/contracts/driver-contract.ts'
import { canMount, sharedMounts } from '../../test/harness/loop-mount.ts'
import { mutateTree } from '../../test/harness/mutate-tree.ts'
import { openDriver } from '../drivers/registry.ts'
import { InodeItems } from './btrfs-inodes.ts'
import { cString, libc } from './libc.ts'
import { close, openWithoutLinks } from './paths.ts'
import { Status } from './status.ts'

const shared = sharedMounts(test)
const FIELDS = [
  ...['inode', 'mode', 'links', 'uid', 'gid', 'sizeBytes', 'allocatedBytes', 'changed', 'modified'],
  ...['changedMs', 'changedNanoseconds', 'kind'],
] as const

/** What a snapshot of a changed tree says of each of its entries. */
async function snapshotOf(t: ExecutionContext, fill: (directory: string) => void) {
  if (!canMount(t)) return undefined
  const driver = await openDriver({ name: 'a', path: join(shared('btrfs'), randomUUID()), driver: 'btrfs' })
  const [source, target] = [randomUUID(), randomUUID()]
  const { mountpoint: live } = await driver.create(source, watch)
  fill(live)
  const { mountpoint } = await driver.snapshot({ source, target, readonly: true }, watch)
  const directoryFd = openSync(mountpoint, 'r')
  t.teardown(() => closeSync(directoryFd))
  const statuses = new Map<number, Status>()
  const attributed = new Set<number>()
  for (const path of readdirSync(mountpoint, { recursive: true, encoding: 'buffer' })) {
    const status = new Status().readName(directoryFd, cString(path))
    if (status === undefined) throw new Error(path.toString())
    statuses.set(status.inode, status)
    if (hasAttributes(Buffer.concat([Buffer.from(`${mountpoint}/`), path, Buffer.alloc(1)])))
      attributed.add(status.inode)
  }
  return { directoryFd, statuses, attributed }
}

function hasAttributes(path: Buffer): boolean {
  return libc().llistxattr(path, Buffer.alloc(65_536), 65_536) > 0
}

function told(status: Status): unknown {
  return Object.fromEntries(FIELDS.map((field) => [field, status[field as keyof Status]]))
}

test('inodes are what statx and listxattr say of them, whichever are asked for together', async (t) => {
  const snapshot = await snapshotOf(t, (live) => {
    for (let part = 0; part < 8; part += 1) {
      mkdirSync(join(live, `part${part}`))
      mutateTree(join(live, `part${part}`), part, 60)
    }
    writeFileSync(join(live, 'old'), 'x')
    execFileSync('/usr/bin/touch', ['-d', '1931-02-03 04:05:06.789', join(live, 'old')])
    execFileSync('/usr/bin/setfattr', ['-n', 'user.large', '-v', 'v'.repeat(15_000), join(live, 'old')])
  })
  if (snapshot === undefined) return t.pass()
  const { directoryFd, statuses, attributed } = snapshot
  const all = Float64Array.from(statuses.keys()).sort()
  t.true(all.length > 30 && attributed.size > 3, `${all.length} inodes, ${attributed.size} with attributes`)
  const items = new InodeItems(all.length + 2)
  const status = new Status()
  for (const every of [1, 2, 3, 7, all.length]) {
    const asked = all.filter((_, index) => index % every === 0)
    items.load(directoryFd, Float64Array.of(2, ...asked, 2 ** 40))
    for (const inode of all) {
      const found = items.read(inode, status)
      if (!asked.includes(inode)) t.is(found, undefined)
      else t.deepEqual([found, told(status)], [attributed.has(inode), told(statuses.get(inode) ?? status)])
    }
    t.is(items.read(2, status), undefined)
    t.is(items.read(2 ** 40, status), undefined)
  }
})

test('what does not fit into one answer comes in several, which begin and end anywhere', async (t) => {
  const names = Array.from({ length: 3_000 }, (_, index) => `f${index}`)
  const snapshot = await snapshotOf(t, (live) => {
    mkdirSync(join(live, 'd'))
    for (const [index, name] of names.entries()) {
      writeFileSync(join(live, 'd', name), name.repeat(index % 150))
      const fd = openWithoutLinks(join(live, 'd', name), 0)
      for (let attribute = 0; attribute < index % 3; attribute += 1)
        libc().fsetxattr(fd, cString(`user.a${attribute}`), Buffer.alloc(200 + (index % 50)), 200 + (index % 50), 0)
      close(fd)
    }
  })
  if (snapshot === undefined) return t.pass()
  const { directoryFd, statuses, attributed } = snapshot
  const all = Float64Array.from(statuses.keys()).sort()
  const items = new InodeItems(all.length)
  const status = new Status()
  // The second time the numbers asked for at once are as many as they may become.
  for (let time = 0; time < 2; time += 1) {
    items.load(directoryFd, all)
    const wrong = [...all].filter((inode) => {
      const has = items.read(inode, status)
      return has !== attributed.has(inode) || status.changed !== statuses.get(inode)?.changed
    })
    t.deepEqual(wrong, [])
  }
})
