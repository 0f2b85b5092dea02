import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { InstanceDestination } from '../../../shared/instance-spec.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import { contextOf, memoryOf } from '../../../test/contracts/pipeline-contract.ts'
import { makeInstanceTree } from '../../../test/harness/instance-tree.ts'
import { lacksLxc, openLxcRoom } from '../../../test/harness/lxc-room.ts'
import { failureOf, type PointOrders, pointOrders, refOf, restoreTo, seen } from '../../../test/harness/point-orders.ts'
import { testUnless } from '../../../test/harness/system-packages.ts'
import { until } from '../../../test/harness/until.ts'
import type { Instances } from '../../instances/instances.ts'
import { createLxcDriver } from '../../instances/lxc/lxc-driver.ts'
import { createWatchdogs } from '../../instances/watchdog.ts'
import type { JobMemory, PipelineTools, StepContext } from '../pipeline.ts'
import { openWork } from '../pipelines.ts'
import { runPipeline } from '../run-pipeline.ts'

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

const ticks = (rootfs: string) => Number(readFileSync(join(rootfs, 'root/ticks'), 'utf8'))

/** Points of a container that has run, with a bound directory, one that was left out, and a hook. */
async function archived(t: ExecutionContext) {
  const orders = await pointOrders(t)
  const tools: PipelineTools = { ...orders.tools, instances: () => driver }
  const name = `c${process.pid}-${names++}`
  const [data, host] = [join(orders.outside, 'data'), join(orders.outside, 'host')]
  for (const path of [data, host]) mkdirSync(path)
  writeFileSync(join(data, 'file'), 'of the point')
  const rootfs = room.define(name, [
    `lxc.mount.entry = ${data} srv/data none bind,create=dir 0 0`,
    `lxc.mount.entry = ${host} host none bind,create=dir,ro 0 0`,
    'lxc.hook.pre-start = /bin/true',
  ])
  writeFileSync(join(rootfs, 'root/ticks'), '1000\n')
  await makeInstanceTree(orders.root, { instances: driver, id: name, leftOut: ['/host'] })
  const first = orders.create()
  await orders.run(first)
  writeFileSync(join(data, 'file'), 'of the host')
  writeFileSync(join(rootfs, 'root/ticks'), '1\n')
  const destination = (given: Partial<z.infer<typeof InstanceDestination>> = {}) => ({
    ...({ kind: 'instance', type: 'lxc', name: `made-${name}`, identity: 'new', replace: null } as const),
    ...{ start: false, update: null, place: { pool: 'a', dataset: randomUUID() } },
    ...given,
  })
  t.teardown(() => rm(name, `made-${name}`))
  return { orders, tools, name, data, rootfs, refs: [refOf(first)], destination }
}

async function rm(...ids: string[]): Promise<void> {
  for (const id of ids) {
    await driver.stop(id, { graceMs: 0, signal: never }).catch(() => undefined)
    await driver.destroy(id, never)
  }
}

/** Containers on directories of this test, with their configurations, and what its pool holds. */
function world({ outside, pool, points }: PointOrders): unknown {
  const configs = readdirSync(room.folder)
    .map((name) => [name, readFileSync(join(room.folder, name, 'config'), 'utf8')])
    .filter(([, config = '']) => config.includes(`${outside}/`) || config.includes(`${pool}/`))
  return { configs: Object.fromEntries(configs), datasets: readdirSync(pool).toSorted(), own: points.tools.own.all() }
}

it('a point becomes a container whose process goes on from it, on directories of its own', async (t) => {
  const { orders, tools, name, refs, data, destination } = await archived(t)
  const to = destination({ start: true })
  const { made, instance } = await orders.run(restoreTo(orders, refs, to), { tools })
  const found = await driver.find(to.name, never)
  t.like(found, { id: instance?.instance, state: 'RUNNING', rootfs: `${made?.mountpoint}/rootfs` })
  await until('it counts', () => ticks(found?.rootfs ?? '') > 1000)
  t.is(readFileSync(join(found?.rootfs ?? '', 'root/hostname'), 'utf8').trim(), to.name)
  const source = join(made?.mountpoint ?? '', 'mounts/1')
  t.deepEqual(found?.mounts, [{ destination: '/srv/data', source, kind: 'bind', volume: undefined, readonly: false }])
  t.is(readFileSync(join(source, 'file'), 'utf8'), 'of the point')
  t.is(readFileSync(join(data, 'file'), 'utf8'), 'of the host')
  t.deepEqual(instance?.dropped.toSorted(), ['/host', 'lxc.apparmor.profile', 'lxc.hook.pre-start'])
  t.is(statSync(made?.mountpoint ?? '').mode & 0o777, 0o700)
  t.is((await driver.find(name, never))?.state, 'STOPPED')
  t.deepEqual(orders.points.tools.own.all(), [])
})

it('what cannot be restored as a container is refused, and leaves nothing', async (t) => {
  const { orders, tools, name, refs, destination } = await archived(t)
  const before = world(orders)
  const refused = async (given: Parameters<typeof destination>[0], others = tools) =>
    (await failureOf(t, orders.run(restoreTo(orders, refs, destination(given)), { tools: others }))).code
  t.is(await refused({ name }), 'exists')
  t.is(await refused({ type: 'docker' }), 'refused')
  await driver.start(name, never)
  t.is(await refused({ name, replace: name }), 'conflict')
  await driver.stop(name, { graceMs: 0, signal: never })
  const unreadable: Instances = {
    ...driver,
    create: (request) => driver.create({ ...request, config: broken(request.config) }, never),
  }
  t.is(await refused({}, { ...tools, instances: () => unreadable }), 'refused')
  t.is(
    await refused({ name, replace: name, start: true }, { ...tools, instances: () => ({ ...driver, start: failing }) }),
    'internal',
  )
  rmSync(join(orders.root, 'instance'), { recursive: true })
  const other = orders.create()
  await orders.run(other)
  refs[0] = refOf(other)
  t.is(await refused({}), 'refused')
  t.deepEqual(world(orders), before)
})

function broken<Config extends { files: object }>(config: Config): Config {
  return { ...config, files: { config: Buffer.from('lxc.arch = none such\nlxc.uts.name =\nlxc.arch = 1\n') } }
}

async function failing(): Promise<never> {
  throw new FleetError('internal', 'it does not start')
}

/** Killed behind so many steps of `look stage make place start commit`, or in `place` between its two renames. */
type Kill = number | 'between renames'
const COMMIT = 6

async function runUntil(kill: Kill, order: Order, { memory, tools }: Run): Promise<void> {
  const rename: Instances['rename'] = (id, to) =>
    to === order.name ? Promise.reject(new Error('killed')) : driver.rename(id, to, never)
  const others = kill === 'between renames' ? { ...tools, instances: () => ({ ...driver, rename }) } : tools
  const work = await openWork(order.spec, order.jobId, others)
  try {
    for (const step of work.steps.slice(0, kill === 'between renames' ? 4 : kill))
      await step.run(contextOf(order.jobId, memory))
  } catch (error) {
    if (!(error instanceof Error) || error.message !== 'killed') throw error
  } finally {
    await work.close?.()
  }
}

/** As the next agent does it. */
async function resume({ spec, jobId }: Order, { memory, tools }: Run, isCancelled: boolean): Promise<unknown> {
  const cancel = new AbortController()
  const work = await openWork(spec, jobId, tools)
  const steps = work.steps.map((step, at) => ({
    ...step,
    async run(context: StepContext) {
      await step.run(context)
      if (at === 0 && isCancelled) cancel.abort()
    },
  }))
  return runPipeline({ ...work, steps }, contextOf(jobId, memory, cancel.signal))
}

interface Order {
  readonly spec: SpecOf<'point.restore'>
  readonly jobId: string
  readonly name: string
}
interface Run {
  readonly memory: JobMemory
  readonly tools: PipelineTools
}

it('a kill anywhere on the way to replace a container, and then a cancel, leaves the old one', async (t) => {
  const { orders, tools, name, rootfs, refs, destination } = await archived(t)
  const before = world(orders)
  for (const kill of [2, 3, 'between renames', 5] as const) {
    const spec = restoreTo(orders, refs, destination({ name, replace: name, start: true }))
    const [order, run] = [
      { spec, jobId: randomUUID(), name },
      { memory: memoryOf(), tools },
    ]
    await runUntil(kill, order, run)
    t.notDeepEqual(world(orders), before)
    t.is((await failureOf(t, resume(order, run, true))).code, 'cancelled')
    t.deepEqual(world(orders), before, `killed behind ${kill}`)
    t.like(await driver.find(name, never), { state: 'STOPPED', rootfs })
    t.is(ticks(rootfs), 1)
  }
})

for (const kill of ['between renames', 5, COMMIT] as const)
  it(`a kill on the way to replace a container (${kill}), and then the next agent, leaves the new one`, async (t) => {
    const { orders, tools, name, refs, destination } = await archived(t)
    const to = destination({ name, replace: name, start: true })
    const spec = restoreTo(orders, refs, to)
    const [order, run] = [
      { spec, jobId: randomUUID(), name },
      { memory: memoryOf(), tools },
    ]
    await runUntil(kill, order, run)
    t.like(await resume(order, run, kill === COMMIT), { result: { instance: { instance: name } } })
    const found = await driver.find(name, never)
    t.like(found, { state: 'RUNNING', rootfs: join(orders.pool, to.place.dataset, 'rootfs') })
    await until('it counts', () => ticks(found?.rootfs ?? '') > 1000)
    t.like(world(orders), { own: [] })
    t.false(readdirSync(room.folder).some((each) => each.includes(order.jobId)))
    t.like(await resume(order, run, false), { result: { instance: { instance: name } } })
  })

it('a replaced container leaves its root in a pool, whatever leads to it', async (t) => {
  const { orders, tools, name, refs, destination } = await archived(t)
  const way = join(orders.outside, 'way')
  symlinkSync(orders.tools.forbiddenPaths[0] ?? '', way)
  const first = destination()
  await orders.run(restoreTo(orders, refs, first), { tools })
  const led = { ...tools, forbiddenPaths: [`${way}/`] }
  await orders.run(restoreTo(orders, refs, destination({ replace: first.name })), { tools: led })
  t.is(ticks(join(orders.pool, first.place.dataset, 'rootfs')), 1000)
  t.false(
    readdirSync(room.folder).some((each) => each.startsWith('holdfast-')),
    name,
  )
})

it('a container is replaced on the very dataset that it lies on, or stays', async (t) => {
  const { orders, tools, refs, destination } = await archived(t)
  const to = destination()
  await orders.run(restoreTo(orders, refs, to), { tools })
  const again = { ...to, identity: 'keep', replace: to.name, update: refs[0]?.id ?? '' } as const
  const configOf = () => statSync(join(room.folder, to.name, 'config')).ino
  const first = configOf()
  await orders.run(restoreTo(orders, refs, again), { tools })
  t.not(configOf(), first)
  t.false(readdirSync(room.folder).some((each) => each.startsWith('holdfast-')))

  const before = [world(orders), configOf()]
  const failed = { ...tools, instances: () => ({ ...driver, start: failing }) }
  const started = restoreTo(orders, refs, { ...again, start: true })
  t.is((await failureOf(t, orders.run(started, { tools: failed }))).code, 'internal')
  t.deepEqual([world(orders), configOf()], before)
})

it('a dataset is not exchanged under a container that runs in it, or has some of it mounted', async (t) => {
  const orders = await pointOrders(t)
  const tools: PipelineTools = { ...orders.tools, instances: () => driver }
  const [inside, beside] = [`c${process.pid}-${names++}`, `c${process.pid}-${names++}`]
  t.teardown(() => rm(inside, beside))
  const rootfs = join(orders.root, 'rootfs')
  const made = room.define(inside)
  execFileSync('/bin/mv', [made, rootfs])
  const config = join(room.folder, inside, 'config')
  writeFileSync(config, readFileSync(config, 'utf8').replace(made, rootfs))
  mkdirSync(join(orders.root, 'shared'))
  room.define(beside, [`lxc.mount.entry = ${join(orders.root, 'shared')} srv none bind,create=dir 0 0`])
  writeFileSync(join(rootfs, 'root/ticks'), '100000\n')
  const point = orders.create()
  await orders.run(point)
  writeFileSync(join(rootfs, 'root/ticks'), '1\n')
  const place = { pool: 'a', dataset: orders.dataset }
  const into = { ...restoreTo(orders, [refOf(point)], { kind: 'dataset', place, path: '/' }), overwrite: true }

  await driver.start(beside, never)
  t.like(await failureOf(t, orders.run(into, { tools })), { code: 'conflict', blockers: [beside] })
  await driver.stop(beside, { graceMs: 0, signal: never })

  const jobId = randomUUID()
  const work = await openWork(into, jobId, tools)
  const steps = work.steps.map((step) => ({
    ...step,
    async run(context: StepContext) {
      await step.run(context)
      if (step.name === 'stage') await driver.start(inside, never)
    },
  }))
  const late = await failureOf(t, runPipeline({ ...work, steps }, contextOf(jobId, memoryOf())))
  t.like(late, { code: 'conflict', blockers: [inside] })
  t.like(world(orders), { datasets: [orders.dataset], own: [] })
  await driver.stop(inside, { graceMs: 0, signal: never })
  t.true(ticks(rootfs) < 100000)

  await orders.run(into, { tools })
  t.is(ticks(rootfs), 100000)
  await driver.start(inside, never)
  await until('it counts', () => ticks(rootfs) > 100000)
})

it('a restored tree is brought to a later point, and only then a container is made on it', async (t) => {
  const { orders, tools, name, refs, destination } = await archived(t)
  const to = destination({ name: `later-${name}`, start: true })
  t.teardown(() => rm(to.name))
  await orders.run(restoreTo(orders, refs, { kind: 'new', place: to.place }), { tools })
  execFileSync('/bin/sh', ['-ec', CHANGES], { cwd: orders.root })
  const next = orders.create(refs)
  await orders.run(next)
  const chain = [...refs, refOf(next)]
  const [from] = refs
  const update = { ...to, update: from?.id ?? '' }
  const tree = join(orders.pool, to.place.dataset)
  const [order, run] = [
    { spec: restoreTo(orders, chain, { ...update, start: false }), jobId: randomUUID() },
    { memory: memoryOf(), tools },
  ]
  await runUntil(2, { ...order, name: to.name }, run)
  t.deepEqual(seen(tree), seen(orders.root))
  t.is((await failureOf(t, resume({ ...order, name: to.name }, run, true))).code, 'cancelled')
  const { instance } = await orders.run(restoreTo(orders, chain, update), { tools })
  t.is(instance?.instance, to.name)
  await until('it counts', () => ticks(join(tree, 'rootfs')) > 2000)
  await driver.stop(to.name, { graceMs: 0, signal: never })
  const again = { ...update, name: `${to.name}-2` }
  t.is((await failureOf(t, orders.run(restoreTo(orders, chain, again), { tools }))).code, 'conflict')
  const alien = { ...again, update: randomUUID() }
  t.is((await failureOf(t, orders.run(restoreTo(orders, chain, alien), { tools }))).code, 'invalid')
  t.like(await driver.find(to.name, never), { state: 'STOPPED' })
})

/** In the tree of a container: kinds, names, attributes. */
const CHANGES = `
echo 2000 > rootfs/root/ticks
ln rootfs/root/ticks rootfs/root/other
rm -r rootfs/tmp; echo file > rootfs/tmp
mkdir -m 1777 rootfs/new; echo x > rootfs/new/x; chmod 4755 rootfs/new/x
echo more > mounts/1/more; rm mounts/1/file
chown 12:34 rootfs/etc; touch -d 2020-01-01 rootfs/etc
`
