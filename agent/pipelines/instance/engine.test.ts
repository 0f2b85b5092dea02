import { randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { SpecOf } from '../../../shared/job-spec.ts'
import { contextOf, memoryOf } from '../../../test/contracts/pipeline-contract.ts'
import { makeInstanceTree } from '../../../test/harness/instance-tree.ts'
import { temporaryDirectory } from '../../../test/harness/loop-mount.ts'
import { lacksPodman, openPodmanRoom, type PodmanRoom } from '../../../test/harness/podman-room.ts'
import { failureOf, pointOrders, refOf, restoreTo } from '../../../test/harness/point-orders.ts'
import { testUnless } from '../../../test/harness/system-packages.ts'
import { until } from '../../../test/harness/until.ts'
import { createDockerDriver } from '../../instances/docker/docker-driver.ts'
import type { Instances } from '../../instances/instances.ts'
import { createWatchdogs } from '../../instances/watchdog.ts'
import type { PipelineTools } from '../pipeline.ts'
import { openWork } from '../pipelines.ts'
import { openStoppedNotes } from './stopped-notes.ts'

const lacks = await lacksPodman()
const it = testUnless(lacks)
const notes = mkdtempSync('/var/tmp/holdfast-notes-')
const never = new AbortController().signal
let opened: PodmanRoom | undefined

if (lacks === undefined)
  test.before(async () => {
    opened = openPodmanRoom()
    await opened.serve()
  })
test.after.always(async () => {
  await opened?.close()
  rmSync(notes, { recursive: true, force: true })
})

it('containers of an engine are cloned while they run, restored in the place of one, and leave no image behind', async (t) => {
  const room = opened ?? t.fail('no Podman')
  if (typeof room !== 'object') return
  const driver = createDockerDriver({ socketPath: room.socketPath, watchdogs: createWatchdogs(notes) })
  const orders = await pointOrders(t)
  const stopped = openStoppedNotes(join(temporaryDirectory(t), 'stopped'), () => driver, never)
  const tools: PipelineTools = { ...orders.tools, instances: () => driver, stopped }
  const ticks = (id: string) => Number(room.read(id, 'root/ticks') || 'NaN')
  const standing = () => room.podman('ps', '--all', '--format', '{{.Names}} {{.ID}}').trim().split('\n').toSorted()
  const images = () =>
    room.podman('images', '--all', '--format', '{{.Repository}} {{.Id}}').trim().split('\n').toSorted()
  const place = () => ({ pool: 'a', dataset: randomUUID() })

  const id = room.define('shop', [
    '--volume',
    'kept:/data',
    '--volume',
    `${orders.outside}:/gone:ro`,
    '--cap-add',
    'SYS_TIME',
  ])
  const volume = (await driver.ensureVolume?.('kept', never)) ?? ''
  writeFileSync(join(volume, 'file'), 'of the volume')
  await driver.start(id, never)
  await until('it counts', () => ticks(id) > 0)

  const clone: SpecOf<'instance.clone'> = {
    ...{ kind: 'instance.clone', source: { type: 'docker', instance: id }, target: place(), name: 'shop2' },
    ...{ hold: 'pause', start: true },
  }
  const cloned = await orders.run(clone, { tools })
  t.like(cloned, { atomic: true, cow: false, held: { intact: true }, made: { dropped: [] } })
  const copy = await driver.find('shop2', never)
  t.like(copy, { id: cloned.made.instance, state: 'RUNNING' })
  t.deepEqual(copy?.mounts.map(({ source, destination, readonly }) => [source, destination, readonly]).toSorted(), [
    [join(cloned.mountpoint, 'mounts/0'), '/data', false],
    [join(cloned.mountpoint, 'mounts/1'), '/gone', true],
  ])
  await until('the clone counts', () => ticks(copy?.id ?? '') > 0)
  t.is(room.read(copy?.id ?? '', 'root/hostname').trim(), 'shop2')
  t.is(readFileSync(join(cloned.mountpoint, 'mounts/0/file'), 'utf8'), 'of the volume')
  await driver.stop('shop2', { graceMs: 0, signal: never })
  await driver.destroy('shop2', never)

  await driver.stop(id, { graceMs: 0, signal: never })
  await makeInstanceTree(orders.root, { instances: driver, id, leftOut: ['/gone'] })
  writeFileSync(join(orders.root, 'rootfs/root/ticks'), '1000\n')
  const point = orders.create()
  await orders.run(point)
  const restore = (given: object) =>
    restoreTo(orders, [refOf(point)], {
      ...{ kind: 'instance', type: 'docker', name: 'shop', place: place(), identity: 'keep', replace: id },
      ...{ start: true, update: null },
      ...given,
    })

  // Killed between its two renames, then behind its start; cancelled, the old one is there as it was.
  const [before, imagesBefore] = [standing(), images()]
  const rename: Instances['rename'] = (from, to) =>
    to === 'shop' ? Promise.reject(new Error('killed')) : driver.rename(from, to, never)
  for (const killed of [{ ...driver, rename }, driver]) {
    const [jobId, memory, spec] = [randomUUID(), memoryOf(), restore({})]
    const work = await openWork(spec, jobId, { ...tools, instances: () => killed })
    const steps = work.steps.slice(0, 5).map((step) => () => step.run(contextOf(jobId, memory)))
    await steps.reduce((done, step) => done.then(step), Promise.resolve()).catch(() => undefined)
    await work.close?.()
    t.notDeepEqual(standing(), before)
    const next = await openWork(spec, jobId, tools)
    await next.steps[0]?.run(contextOf(jobId, memory))
    await next.steps[0]?.undo?.(contextOf(jobId, memory))
    await next.close?.()
    t.deepEqual([standing(), images()], [before, imagesBefore])
    t.like(await driver.find('shop', never), { id, state: 'STOPPED' })
  }

  const restored = await orders.run(restore({}), { tools })
  const { instance = '', dropped } = restored.instance ?? {}
  t.deepEqual(dropped?.toSorted(), ['/gone', 'CapAdd'])
  t.like(await driver.find('shop', never), { id: instance, state: 'RUNNING' })
  t.not(instance, id)
  t.is(await driver.find(id, never), undefined)
  await until('it goes on from the point', () => ticks(instance) > 1000)
  t.is((await failureOf(t, orders.run(restore({ replace: instance }), { tools }))).code, 'conflict')
  t.is((await failureOf(t, orders.run(restore({ type: 'lxc', name: 'x', replace: null }), { tools }))).code, 'refused')
  await driver.stop('shop', { graceMs: 0, signal: never })
  await driver.destroy('shop', never)
  t.deepEqual(images(), imagesBefore)
  t.true(existsSync(join(volume, 'file')))
  t.deepEqual(orders.points.tools.own.all(), [])
})
