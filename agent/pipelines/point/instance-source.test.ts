import { execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import test from 'ava'
import { type Hold, InstanceManifest } from '../../../shared/instance-spec.ts'
import { pipelineContract } from '../../../test/contracts/pipeline-contract.ts'
import { instanceHost, tarNames, untar } from '../../../test/harness/instance-host.ts'
import { lacksLxc, openLxcRoom } from '../../../test/harness/lxc-room.ts'
import { failureOf, type PointOrders, pointOrders, refOf, SETTLED_MS } from '../../../test/harness/point-orders.ts'
import { testUnless } from '../../../test/harness/system-packages.ts'
import { until } from '../../../test/harness/until.ts'
import { openWork } from '../pipelines.ts'

const HANGER = join(import.meta.dirname, '../../../test/harness/stop-and-hang.ts')
const lacks = lacksLxc()
const it = testUnless(lacks)
const room = openLxcRoom()
test.after.always(() => room.close())

const lxc = (tool: string, name: string, ...args: readonly string[]) =>
  execFileSync(`/usr/bin/lxc-${tool}`, ['-P', room.folder, '-n', name, ...args], { stdio: 'pipe' }).toString()
const stateOf = (name: string) => /State: +(\w+)/.exec(lxc('info', name, '-s'))?.[1]
const configOf = (name: string) => join(room.folder, name, 'config')
const isCounting = async (rootfs: string) => {
  const ticks = () => Number(existsSync(join(rootfs, 'root/ticks')) && readFileSync(join(rootfs, 'root/ticks'), 'utf8'))
  const before = ticks()
  await until('it counts', () => ticks() > before)
  return ticks()
}

/** A container with its root in this directory. */
function define(name: string, rootfs: string, lines: readonly string[] = []): void {
  const made = room.define(name, lines)
  mkdirSync(join(rootfs, '..'), { recursive: true })
  execFileSync('/bin/mv', [made, rootfs])
  writeFileSync(configOf(name), readFileSync(configOf(name), 'utf8').replace(made, rootfs))
}

const source = (instance: string, hold: Hold) => ({
  source: { kind: 'instance' as const, place: { type: 'lxc' as const, instance }, hold },
})

function pointsMade(
  orders: PointOrders,
): readonly { readonly name: string; readonly image: { readonly sha256: string } }[] {
  return JSON.parse(readFileSync(join(orders.backups, 'backup-metadata'), 'utf8')).points
}

it('a container that runs is frozen for its snapshots alone, and is one tree with what is mounted in it', async (t) => {
  const orders = await pointOrders(t, { driver: 'btrfs' })
  const { tools, snapshotMs } = instanceHost(orders, { lxcPath: room.folder })
  const [rootfs, shared] = [join(orders.root, 'web'), join(orders.root, 'deep/shared')]
  mkdirSync(shared, { recursive: true })
  writeFileSync(join(shared, 'file'), 'shared\n')
  define('web', rootfs, [
    `lxc.mount.entry = ${shared} data none bind,create=dir 0 0`,
    'lxc.mount.entry = /etc/passwd etc/passwd none bind,create=file 0 0',
    `lxc.mount.entry = ${orders.points.state} agent none bind,create=dir 0 0`,
    'lxc.mount.entry = /nowhere gone none bind,optional,create=dir 0 0',
  ])
  lxc('start', 'web', '-d')
  await isCounting(rootfs)

  await pause(SETTLED_MS) // what changed right before a snapshot is read again
  const full = orders.create([], source('web', 'pause'))
  const made = await orders.run(full, { tools })
  t.like(made, { consistency: 'crash', problemCount: 0, held: { kind: 'pause', intact: true } })
  t.is(snapshotMs.length, 1)
  t.log(`held ${made.held?.ms} ms, of it the snapshot ${snapshotMs[0]} ms`)
  const after = await isCounting(rootfs)

  const tree = untar(orders, [full.name])
  const manifest = InstanceManifest.parse(JSON.parse(readFileSync(join(tree, 'instance/instance.json'), 'utf8')))
  t.like(manifest, { type: 'lxc', name: 'web', image: null })
  t.deepEqual(
    manifest.mounts.map(({ destination, directory, why }) => [destination, directory ?? why]),
    [
      ['/agent', 'holds, or is part of, what the agent keeps for itself'],
      ['/data', 'mounts/1'],
      ['/etc/passwd', 'not a directory'],
      ['/gone', 'not on the host'],
    ],
  )
  t.is(readFileSync(join(tree, 'instance/config/config'), 'utf8'), readFileSync(configOf('web'), 'utf8'))
  t.is(readFileSync(join(tree, 'mounts/1/file'), 'utf8'), 'shared\n')
  t.is(
    execFileSync('/usr/bin/diff', ['-r', '--no-dereference', '-x', 'ticks*', rootfs, join(tree, 'rootfs')]).toString(),
    '',
  )
  const ticks = Number(readFileSync(join(tree, 'rootfs/root/ticks'), 'utf8'))
  t.true(ticks > 0 && ticks < after)

  // An increment reads what changed, whichever snapshot it is read from.
  appendFileSync(join(shared, 'file'), 'more\n')
  const next = orders.create([refOf(full)], source('web', 'pause'))
  const increment = await orders.run(next, { tools })
  t.false(increment.full)
  const names = execFileSync('/bin/sh', [
    '-c',
    `zstd -dcq ${orders.backups}/${next.name}/data.tar.zst | tar -t`,
  ]).toString()
  t.false(names.includes('rootfs/bin'))
  t.is(readFileSync(join(untar(orders, [full.name, next.name]), 'mounts/1/file'), 'utf8'), 'shared\nmore\n')
  t.deepEqual(orders.points.tools.own.all(), [])
  t.deepEqual(readdirSync(orders.points.tools.scratch), [])

  // One snapshot of all is of one instant, held or not.
  const unheld = await orders.run(orders.create([], source('web', 'none')), { tools })
  t.is(unheld.consistency, 'crash')
  t.is(unheld.held, undefined)

  // The image of the series: as it was, until the configuration changes.
  const image = join(orders.backups, 'image.tar')
  t.deepEqual(tarNames(image), ['instance.json', 'config/config'])
  const { ino } = statSync(image)
  appendFileSync(configOf('web'), 'lxc.environment = NEW=1\n')
  const last = pointsMade(orders).at(-1)
  await orders.run(orders.create([], source('web', 'none')), { tools })
  t.is(statSync(join(orders.backups, last?.name ?? '', 'image.tar')).ino, ino)
  t.regex(execFileSync('/bin/tar', ['-xOf', image, 'config/config']).toString(), /NEW=1/)
  t.is(pointsMade(orders).at(-1)?.image.sha256, execFileSync('/usr/bin/sha256sum', [image]).toString().slice(0, 64))
  lxc('stop', 'web', '-k')
})

it('what lies in no pool is read while it stands still; one that moved meanwhile is told of', async (t) => {
  const orders = await pointOrders(t)
  const { tools } = instanceHost(orders, { lxcPath: room.folder })
  const rootfs = join(orders.outside, 'rootfs')
  define('out', rootfs)
  lxc('start', 'out', '-d')
  await isCounting(rootfs)
  const run = (hold: Hold, given: Parameters<PointOrders['run']>[1] = {}) =>
    orders.run(orders.create([], source('out', hold)), { tools, ...given })

  t.like(await run('pause'), { consistency: 'crash', held: { kind: 'pause', intact: true } })
  t.like(await run('none'), { consistency: 'fuzzy' })
  // The watchdog's time is over while this process is busy with something else.
  let waits = 1
  const busy = {
    progress: () => void (waits-- > 0 && Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5_000)),
  }
  const late = await run('pause', { tools: { ...tools, freezeMs: 4_000 }, context: busy })
  t.like(late, { consistency: 'fuzzy', held: { intact: false } })
  await isCounting(rootfs)

  const pid = lxc('info', 'out', '-pH')
  t.like(await run('stop'), { consistency: 'crash', held: { kind: 'stop', intact: true } })
  t.is(stateOf('out'), 'RUNNING')
  t.not(lxc('info', 'out', '-pH'), pid)

  // Frozen before, by somebody else: it stays so.
  lxc('freeze', 'out')
  const before = await run('pause')
  t.is(before.consistency, 'crash')
  t.is(before.held, undefined)
  t.is(stateOf('out'), 'FROZEN')
  lxc('unfreeze', 'out')

  lxc('stop', 'out', '-k')
  t.like(await run('stop'), { consistency: 'crash' })
  t.is(stateOf('out'), 'STOPPED')
})

it('one that was stopped runs again after a failure, a cancel, and the death of the agent', async (t) => {
  const orders = await pointOrders(t)
  const { tools } = instanceHost(orders, { lxcPath: room.folder })
  const rootfs = join(orders.outside, 'rootfs')
  define('held', rootfs)
  lxc('start', 'held', '-d')
  await isCounting(rootfs)
  const spec = () => orders.create([], source('held', 'stop'))

  const gone = instanceHost(orders, { lxcPath: room.folder })
  renameSync(orders.points.tools.scratch, `${orders.points.tools.scratch}-away`)
  await failureOf(t, orders.run(spec(), { tools: gone.tools }))
  renameSync(`${orders.points.tools.scratch}-away`, orders.points.tools.scratch)
  t.is(stateOf('held'), 'RUNNING')

  const controller = new AbortController()
  const context = { signal: controller.signal, progress: () => controller.abort() }
  t.is((await failureOf(t, orders.run(spec(), { tools, context }))).code, 'cancelled')
  t.is(stateOf('held'), 'RUNNING')

  const { state } = orders.points
  const order = { lxcPath: room.folder, state, id: 'held', jobId: randomUUID() }
  const child = spawn(process.execPath, [HANGER, JSON.stringify(order)], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  t.is(stateOf('held'), 'STOPPED')
  child.kill('SIGKILL')
  await once(child, 'exit')
  t.is(await tools.stopped.startLeft(), 0)
  t.is(stateOf('held'), 'RUNNING')
  t.deepEqual(readdirSync(join(state, 'stopped')), [])
  lxc('stop', 'held', '-k')
})

if (lacks === undefined)
  pipelineContract(test, {
    kind: 'point.create',
    title: 'point.create of an instance',
    async prepare(t) {
      const orders = await pointOrders(t)
      const { tools } = instanceHost(orders, { lxcPath: room.folder })
      const name = `contract-${randomUUID().slice(0, 8)}`
      define(name, join(orders.outside, 'rootfs'), [`lxc.mount.entry = ${orders.root} data none bind,create=dir 0 0`])
      lxc('start', name, '-d')
      const spec = orders.create([], source(name, 'stop'))
      return {
        open: (jobId) => openWork(spec, jobId, tools),
        observe: () => ({
          state: stateOf(name),
          own: orders.points.tools.own.all(),
          datasets: readdirSync(orders.pool),
          scratch: readdirSync(orders.points.tools.scratch),
          backups: existsSync(orders.backups) ? readdirSync(orders.backups).toSorted() : [],
        }),
      }
    },
  })
