import { randomUUID } from 'node:crypto'
import test from 'ava'
import { createZfsVolumes, openZfsVolumes, zvolDevices } from '../../agent/volumes/zfs/zfs-volumes.ts'
import { openZfs, type Zfs } from '../../agent/zfs/zfs.ts'
import { watch } from '../contracts/driver-contract.ts'
import { MIB } from '../contracts/volume-contract.ts'
import { testUnless } from '../harness/system-packages.ts'
import { readText, writeText } from './disk.ts'
import { lacksZfs, makeRoom, type Room, tool } from './room.ts'

const inZfs = testUnless(lacksZfs())
let made: Room | undefined
const pool = () => {
  made ??= makeRoom()
  return made.pool
}
test.after.always(() => made?.close())

/** The process ends before one of its commands. */
class Died extends Error {}

function dying(zfs: Zfs) {
  const state = { left: Number.POSITIVE_INFINITY }
  const live = () => {
    if (state.left <= 0) throw new Died('the process has ended')
    state.left -= 1
  }
  const mortal: Zfs = {
    ...zfs,
    async call(args, signal) {
      live()
      return zfs.call(args, signal)
    },
    async program(request, signal) {
      live()
      return zfs.program(request, signal)
    },
  }
  return { mortal, state }
}

inZfs(
  'whichever command is the last one of an agent that dies, a volume that is rolled back is the old or the new one, and all of it can go',
  async (t) => {
    const seen: string[] = []
    for (let commands = 0, isOver = false; !isOver; commands += 1) {
      const root = `${pool()}/r${randomUUID().slice(0, 8)}`
      tool('zfs', 'create', root)
      const { mortal, state } = dying(openZfs())
      const volumes = await createZfsVolumes({ root, zfs: mortal, devices: zvolDevices() })
      const disk = await volumes.create({ volume: 'disk', sizeBytes: MIB, createParent: false }, watch)
      await volumes.settle([disk], watch)
      await writeText(disk.device, 'then')
      await volumes.snapshot({ volume: 'disk', snapshot: 's' }, watch)
      await writeText(disk.device, 'now')
      await volumes.snapshot({ volume: 'disk', snapshot: 'later' }, watch)
      const staged = await volumes.stage({ volume: 'disk', content: { snapshot: 's' }, createParent: false }, watch)
      state.left = commands
      isOver = await staged.put('over', watch).then(
        () => true,
        (error: unknown) => (error instanceof Died ? false : Promise.reject(error)),
      )
      const again = await openZfsVolumes(root)
      await again.sweep()
      const now = await again.find('disk')
      const isNew = now?.guid === staged.guid
      seen.push(isNew ? 'new' : 'old')
      t.is(now?.guid, isNew ? staged.guid : disk.guid)
      await zvolDevices().settleOwn(`${root}/disk`, watch.signal)
      t.is(await readText(disk.device), isNew ? 'then' : 'now')
      const [listed] = await again.list('', 10)
      t.deepEqual(listed?.snapshots.map(({ name }) => name).toSorted(), ['later', 's'])
      for (const name of ['s', 'later']) await again.destroySnapshot('disk', name, watch)
      t.is(await readText(disk.device), isNew ? 'then' : 'now')
      await again.destroy('disk', watch)
      t.is(tool('zfs', 'list', '-H', '-r', '-t', 'all', '-o', 'name', root).trim(), root)
    }
    t.true(seen.includes('old') && seen.at(-1) === 'new', seen.join())
  },
)
