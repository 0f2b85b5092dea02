import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { SpecOf } from '../../../shared/job-spec.ts'
import { pipelineContract } from '../../../test/contracts/pipeline-contract.ts'
import { temporaryDirectory } from '../../../test/harness/loop-mount.ts'
import { lacksLxc, openLxcRoom } from '../../../test/harness/lxc-room.ts'
import { failureOf, type PointOrders, pointOrders } from '../../../test/harness/point-orders.ts'
import { testUnless } from '../../../test/harness/system-packages.ts'
import { until } from '../../../test/harness/until.ts'
import { findDatasetAt } from '../../drivers/dataset-at.ts'
import { createLxcDriver } from '../../instances/lxc/lxc-driver.ts'
import { createWatchdogs } from '../../instances/watchdog.ts'
import type { PipelineTools } from '../pipeline.ts'
import { openWork } from '../pipelines.ts'
import { openStoppedNotes } from './stopped-notes.ts'

const lacks = lacksLxc()
const it = testUnless(lacks)
const room = openLxcRoom()
const notes = mkdtempSync('/var/tmp/holdfast-notes-')
const driver = createLxcDriver({ folder: room.folder, watchdogs: createWatchdogs(notes) })
const never = new AbortController().signal
let names = 0

test.after.always(() => {
  room.close()
  rmSync(notes, { recursive: true, force: true })
})

const ticks = (rootfs: string) => Number(readFileSync(join(rootfs, 'root/ticks'), 'utf8') || 'NaN')
const rootOf = async (name: string) => (await driver.find(name, never))?.rootfs ?? '/nowhere'

async function remove(...ids: string[]): Promise<void> {
  for (const id of ids) {
    await driver.stop(id, { graceMs: 0, signal: never }).catch(() => undefined)
    await driver.destroy(id, never)
  }
}

/** A container that runs, with a directory of the host bound into it; both in the dataset when they shall be. */
async function running(t: ExecutionContext, given: { readonly pool: 'btrfs' | 'copy'; readonly isInPool: boolean }) {
  const orders = await pointOrders(t, { driver: given.pool })
  const tools: PipelineTools = {
    ...orders.tools,
    instances: () => driver,
    stopped: openStoppedNotes(join(temporaryDirectory(t), 'stopped'), () => driver, never),
    datasetAt: (path) => findDatasetAt(path, new Map([['a', orders.driver]])),
  }
  const name = `run${process.pid}-${names++}`
  const home = given.isInPool ? join(orders.root, 'home') : orders.outside
  mkdirSync(join(home, 'data'), { recursive: true })
  writeFileSync(join(home, 'data/file'), 'shared')
  const rootfs = join(home, 'root')
  execFileSync('/bin/mv', [room.define(name, [`lxc.mount.entry = ${home}/data data none bind,create=dir 0 0`]), rootfs])
  const config = join(room.folder, name, 'config')
  writeFileSync(config, readFileSync(config, 'utf8').replace(/rootfs.path = .*/, `rootfs.path = dir:${rootfs}`))
  await driver.start(name, never)
  t.teardown(() => remove(name))
  await until('it counts', () => existsSync(join(rootfs, 'root/ticks')) && ticks(rootfs) > 0)
  const spec = (part: Partial<SpecOf<'instance.clone'>> = {}): SpecOf<'instance.clone'> => ({
    ...{ kind: 'instance.clone', source: { type: 'lxc', instance: name }, name: `clone-of-${name}` },
    ...{ target: { pool: 'a', dataset: randomUUID() }, hold: 'pause', start: true },
    ...part,
  })
  return { orders, tools, name, home, rootfs, spec }
}

async function counts(rootfs: string): Promise<void> {
  const before = ticks(rootfs)
  await until('it counts', () => ticks(rootfs) > before)
}

it('a running container is cloned by snapshots and shared blocks, and both run on by themselves', async (t) => {
  const { orders, tools, name, home, rootfs, spec } = await running(t, { pool: 'btrfs', isInPool: true })
  const order = spec()
  t.teardown(() => remove(order.name))
  const cloned = await orders.run(order, { tools })
  t.like(cloned, { atomic: true, cow: true, held: { kind: 'pause', intact: true }, made: { instance: order.name } })
  t.log(`held for ${Math.round(cloned.held?.ms ?? 0)} ms`)
  const root = await rootOf(order.name)
  t.is(root, join(cloned.mountpoint, 'rootfs'))
  await counts(root)
  await counts(rootfs)
  t.is(readFileSync(join(root, 'root/hostname'), 'utf8').trim(), order.name)
  writeFileSync(join(cloned.mountpoint, 'mounts/0/file'), 'of the clone')
  t.is(readFileSync(join(home, 'data/file'), 'utf8'), 'shared')
  t.deepEqual(orders.points.tools.own.all(), [])
  t.is(readdirSync(orders.pool).length, 2)

  // One that was made on a dataset is cloned by one snapshot of it, here without being held.
  const second = spec({ source: { type: 'lxc', instance: order.name }, name: `${order.name}-2`, hold: 'none' })
  t.teardown(() => remove(second.name))
  const again = await orders.run(second, { tools })
  t.like(again, { atomic: true, cow: true })
  t.is(again.held, undefined)
  t.is(readFileSync(join(again.mountpoint, 'mounts/0/file'), 'utf8'), 'of the clone')
  await counts(await rootOf(second.name))
  t.like(JSON.parse(readFileSync(join(again.mountpoint, 'instance/instance.json'), 'utf8')), { name: order.name })
  t.is((await driver.find(name, never))?.state, 'RUNNING')
})

it('what lies in no pool is copied while the container is stopped, and it runs again', async (t) => {
  const { orders, tools, name, rootfs, spec } = await running(t, { pool: 'copy', isInPool: false })
  const order = spec({ hold: 'stop', start: false })
  t.teardown(() => remove(order.name))
  const cloned = await orders.run(order, { tools })
  t.like(cloned, { atomic: true, cow: false, held: { kind: 'stop', intact: true } })
  t.is((await driver.find(order.name, never))?.state, 'STOPPED')
  t.true(ticks(await rootOf(order.name)) > 0)
  await counts(rootfs)
  t.is((await failureOf(t, orders.run(spec({ name }), { tools }))).code, 'exists')
  const gone = spec({ source: { type: 'lxc', instance: 'nobody' }, name: 'no-one' })
  t.is((await failureOf(t, orders.run(gone, { tools }))).code, 'not_found')
  t.deepEqual(orders.points.tools.own.all(), [])
})

it('orders start and stop a container, and again', async (t) => {
  const { orders, tools, name } = await running(t, { pool: 'copy', isInPool: false })
  const place = { type: 'lxc', instance: name } as const
  for (const _ of [1, 2]) t.deepEqual(await orders.run({ kind: 'instance.stop', place, graceMs: 5_000 }, { tools }), {})
  t.is((await driver.find(name, never))?.state, 'STOPPED')
  for (const _ of [1, 2]) t.deepEqual(await orders.run({ kind: 'instance.start', place }, { tools }), {})
  t.is((await driver.find(name, never))?.state, 'RUNNING')
  const unknown = { kind: 'instance.start', place: { type: 'lxc', instance: 'nobody' } } as const
  t.is((await failureOf(t, orders.run(unknown, { tools }))).code, 'not_found')
})

function world({ pool, points }: PointOrders): unknown {
  const configs = readdirSync(room.folder)
    .map((name) => [name, readFileSync(join(room.folder, name, 'config'), 'utf8')])
    .filter(([, config = '']) => config.includes(`${dirname(pool)}/`))
  return { configs: Object.fromEntries(configs), datasets: readdirSync(pool).toSorted(), own: points.tools.own.all() }
}

pipelineContract(test, {
  kind: 'instance.clone',
  async prepare(t) {
    if (lacks !== undefined) return undefined
    const { orders, tools, spec } = await running(t, { pool: 'copy', isInPool: true })
    const order = spec({ start: false, hold: 'none' })
    t.teardown(() => remove(order.name))
    return { open: (jobId) => openWork(order, jobId, tools), observe: () => world(orders) }
  },
})
