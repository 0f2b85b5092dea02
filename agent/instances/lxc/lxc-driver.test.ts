import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { instancesContract, never } from '../../../test/contracts/instances-contract.ts'
import { lacksLxc, openLxcRoom } from '../../../test/harness/lxc-room.ts'
import { testUnless } from '../../../test/harness/system-packages.ts'
import { until } from '../../../test/harness/until.ts'
import { run } from '../../exec/run.ts'
import { createWatchdogs } from '../watchdog.ts'
import { createLxcDriver } from './lxc-driver.ts'

const lacks = lacksLxc()
const it = testUnless(lacks)
const room = openLxcRoom()
const notes = mkdtempSync('/var/tmp/holdfast-notes-')
const driver = createLxcDriver({ folder: room.folder, watchdogs: createWatchdogs(notes) })

test.after.always(() => {
  room.close()
  rmSync(notes, { recursive: true, force: true })
})

const rootfsOf = (id: string) => {
  const path = /^lxc.rootfs.path = dir:(.*)$/m.exec(readFileSync(join(room.folder, id, 'config'), 'utf8'))?.[1]
  return path ?? '/nowhere'
}

instancesContract(it, () => ({
  driver,
  notes,
  type: 'lxc',
  place: room.folder,
  define: async (name) => {
    room.define(name)
    return name
  },
  read: (id, file) => {
    const path = join(rootfsOf(id), 'root', file)
    return existsSync(path) ? readFileSync(path, 'utf8') : ''
  },
  copyRootfs: async (id) => {
    const copy = join(room.folder, `../root of ${id}`)
    cpSync(rootfsOf(id), copy, { recursive: true, verbatimSymlinks: true })
    return copy
  },
}))

it('host directories that are bound into a container are its mounts, and are chosen anew for another', async (t) => {
  const [shared, other] = ['shared', 'other'].map((name) => join(room.folder, '..', name))
  for (const path of [shared, other]) mkdirSync(path ?? '')
  room.define('bound', [
    `lxc.mount.entry = ${shared} data/in\\040here none bind,create=dir,ro 0 0`,
    'lxc.mount.entry = tmpfs tmp tmpfs defaults 0 0',
    'lxc.mount.entry = /sys/fs/fuse/connections sys/fs/fuse/connections none bind,optional 0 0',
  ])
  const mount = { destination: '/data/in here', kind: 'bind', volume: undefined, readonly: true } as const
  t.deepEqual((await driver.find('bound', never))?.mounts, [{ ...mount, source: shared ?? '' }])
  const rootfs = join(room.folder, '../bound-copy')
  cpSync(rootfsOf('bound'), rootfs, { recursive: true, verbatimSymlinks: true })
  const config = await driver.readConfig('bound', never)
  const made = await driver.create(
    {
      name: 'bound-again',
      config,
      rootfs,
      identity: 'new',
      trusted: true,
      mounts: [{ destination: mount.destination, source: { path: other ?? '' }, readonly: false }],
    },
    never,
  )
  t.deepEqual(made.dropped, [])
  t.deepEqual(made.instance.mounts, [{ ...mount, source: other ?? '', readonly: false }])
  await driver.start('bound-again', never)
  await driver.stop('bound-again', { graceMs: 0, signal: never })
  await driver.destroy('bound-again', never)
  t.true(existsSync(other ?? ''))
})

it('a freeze whose tool was killed is thawed, and may be frozen again', async (t) => {
  room.define('killed')
  await driver.start('killed', never)
  const counts = () => Number(readFileSync(join(rootfsOf('killed'), 'root/ticks'), 'utf8'))
  await until('the counter began', () => counts() > 0)
  let changing = 0
  for (let delay = 1; delay <= 30 && changing < 3; delay++) {
    const args = ['-s', 'KILL', `0.00${1 + (delay % 4)}`, '/usr/bin/lxc-freeze', '-P', room.folder, '-n', 'killed']
    await run('/usr/bin/timeout', args, { signal: never, timeoutMs: 10_000 })
    if ((await driver.find('killed', never))?.state === 'OTHER') changing++
    if (delay % 2 === 0) await driver.thaw('killed', never)
    else await (await driver.freeze({ id: 'killed', maxMs: 20_000, signal: never })).thaw()
    await driver.thaw('killed', never)
    const before = counts()
    await until('it counts', () => counts() > before)
    t.is((await driver.find('killed', never))?.state, 'RUNNING')
  }
  t.log(`${changing} left LXC believing that it freezes`)
  await driver.stop('killed', { graceMs: 0, signal: never })
  await driver.destroy('killed', never)
})

it('one with its root in its own folder is renamed with it, again after a kill, and not where snapshots know its name', async (t) => {
  room.define('home', [`lxc.hook.pre-start = /bin/true`, `lxc.log.file = ${room.folder}/home-2/log`])
  const before = readFileSync(join(room.folder, 'home/config'), 'utf8')
  // As after a kill between the two.
  renameSync(join(room.folder, 'home'), join(room.folder, 'aside'))
  t.is((await driver.rename('home', 'aside', never)).rootfs, join(room.folder, 'aside/rootfs'))
  t.regex(readFileSync(join(room.folder, 'aside/config'), 'utf8'), /log.file = .*\/home-2\/log$/m)
  await driver.start('aside', never)
  await driver.stop('aside', { graceMs: 0, signal: never })
  await driver.rename('aside', 'home', never)
  t.is(readFileSync(join(room.folder, 'home/config'), 'utf8'), before)
  await t.throwsAsync(driver.unmake('home', never), { code: 'conflict' })
  mkdirSync(join(room.folder, 'home/snaps/snap0'), { recursive: true })
  await t.throwsAsync(driver.rename('home', 'aside', never), { code: 'conflict' })
  rmSync(join(room.folder, 'home/snaps'), { recursive: true })
  await driver.destroy('home', never)
})

it('a container that LXC cannot read is listed all the same', async (t) => {
  room.define('unreadable', ['lxc.no.such.key = 1'])
  t.like(await driver.find('unreadable', never), { name: 'unreadable', state: 'OTHER' })
  t.is((await driver.list(never)).find(({ name }) => name === 'unreadable')?.state, 'OTHER')
  await t.throwsAsync(driver.start('unreadable', never), { code: 'conflict' })
})

test('a folder that is not there holds no containers', async (t) => {
  const absent = createLxcDriver({ folder: '/nowhere/lxc', watchdogs: createWatchdogs(notes) })
  t.deepEqual(await absent.list(never), [])
})
