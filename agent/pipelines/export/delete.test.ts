import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { FleetError } from '../../../shared/errors.ts'
import type { ExportElement, UnexportElement, WantedExport } from '../../../shared/volume-spec.ts'
import { memoryOf, pipelineContract } from '../../../test/contracts/pipeline-contract.ts'
import { type ExportRoom, INITIATOR, openExportRoom, STRANGER, unexportOf } from '../../../test/harness/export-host.ts'
import { holdSession, onLun } from '../../../test/harness/initiator.ts'
import { lacksExports } from '../../../test/harness/lacks-exports.ts'
import { sharedMounts } from '../../../test/harness/loop-mount.ts'
import { testUnless } from '../../../test/harness/system-packages.ts'
import { openWork } from '../pipelines.ts'
import { sourceOf } from '../point/base-snapshots.ts'

const lacks = lacksExports()
const it = testUnless(lacks)
const mounted = sharedMounts(test)
const unwatched = { signal: new AbortController().signal, progress: () => undefined }

async function room(t: ExecutionContext): Promise<ExportRoom> {
  const opened = await openExportRoom({ driver: 'reflink', path: mkdtempSync(join(mounted('xfs'), 'pool-')) })
  t.teardown(() => opened[Symbol.asyncDispose]())
  return opened
}

const create = (...elements: ExportElement[]) => ({ kind: 'export.create' as const, elements })
const remove = (...elements: UnexportElement[]) => ({ kind: 'export.delete' as const, elements })

it('an export in use stays unless forced, and what somebody else needs of a volume keeps it', async (t) => {
  const host = await room(t)
  const { element, run, observe, login } = host
  const [used, twice, needed] = [element(1), element(2), element(3)]
  const other = element(4, { source: null, place: twice.place })
  await run(create(used, twice, needed))
  // A volume is in one target: this one moves to another.
  await run(remove(unexportOf(twice, { deleteVolume: false })))
  await run(create(other))
  await host.volumes('a').snapshot({ volume: needed.place.volume, snapshot: 'kept' }, unwatched)
  const held = await holdSession(login(used))
  t.teardown(() => held.end())
  const elsewhere = { ...unexportOf(element(9)), wwn: used.wwn }
  const first = await run(
    remove(unexportOf(used), unexportOf(twice), unexportOf(needed), { ...elsewhere, n: 9 }, unexportOf(element(5))),
  )
  t.deepEqual(first.done, [{ n: 5 }])
  const later = await run(remove(unexportOf(used, { exportId: element(1).exportId, force: true })))
  t.like(later.errors, [{ code: 'conflict', message: 'in use: the wwn is another export by now' }])
  t.deepEqual(
    first.errors.map(({ n, code, unexported }) => [n, code, unexported]),
    [
      [1, 'conflict', false],
      [2, 'conflict', false],
      // Nobody can tell before it is tried.
      [3, 'conflict', true],
      [9, 'conflict', false],
    ],
  )
  t.regex(first.errors[0]?.message ?? '', /in use/)
  t.regex(first.errors[1]?.message ?? '', new RegExp(other.wwn))
  t.true(await held.reads())
  await host.volumes('a').destroySnapshot(needed.place.volume, 'kept', unwatched)
  const second = await run(
    remove(
      unexportOf(used, { force: true }),
      unexportOf(twice),
      unexportOf(needed),
      unexportOf(other, { deleteVolume: false }),
    ),
  )
  t.deepEqual([second.errors, second.done.length], [[], 4])
  t.is(await onLun(login(used), 'read 0 512'), undefined)
  t.deepEqual(await observe(), { volumes: ['image'], kept: [], standing: [] })
})

it('with a volume goes what was kept of it for its next points, and with an export alone nothing', async (t) => {
  const host = await room(t)
  const [gone, stays] = [host.element(1), host.element(2)]
  await host.run(create(gone, stays))
  const { own } = host.tools.points
  for (const { place, exportId } of [gone, stays]) {
    const source = sourceOf(place)
    own.claim({ ...place, dataset: exportId, use: { kind: 'base', source, series: 'a series', at: 1 } })
    await host.volumes('a').capture({ volume: place.volume, id: exportId }, unwatched)
  }
  const { errors } = await host.run(remove(unexportOf(gone), unexportOf(stays, { deleteVolume: false })))
  t.deepEqual(errors, [])
  t.deepEqual(
    own.all().map(({ dataset }) => dataset),
    [stays.exportId],
  )
})

it('a deletion that is cancelled says of each what it did not reach; one whose agent stops goes on', async (t) => {
  const { element, run, observe } = await room(t)
  const elements = Array.from({ length: 120 }, (_, n) => element(n))
  await run(create(...elements))
  const memory = memoryOf()
  const order = remove(...elements.map((one) => unexportOf(one)))
  const stopping = new AbortController()
  const stopped = (reason: FleetError, controller: AbortController) => () =>
    void setImmediate(() => controller.abort(reason))
  const shutdown = new FleetError('unavailable', 'the agent is stopping')
  await t.throwsAsync(run(order, { memory, signal: stopping.signal, progress: stopped(shutdown, stopping) }), {
    message: shutdown.message,
  })
  const cancel = new AbortController()
  cancel.abort(new FleetError('cancelled', 'the job was cancelled'))
  // As an agent runs it that finds it begun.
  const half = await run(order, { memory, signal: cancel.signal })
  t.is(half.done.length + half.errors.length, 120)
  t.true(half.errors.length > 0)
  t.true(half.errors.every(({ code }) => code === 'cancelled'))
  const rest = await run(order, { memory })
  t.deepEqual([rest.done.length, rest.errors], [120, []])
  t.deepEqual(await observe(), { volumes: ['image'], kept: [], standing: [] })
})

it('a host exports what is wanted, and nothing else', async (t) => {
  const host = await room(t)
  const { element, run, observe, exports } = host
  const [stays, changes, goes, moves] = [element(1), element(2), element(3), element(4)]
  await run(create(stays, changes, goes, moves))
  const wanted = ({ exportId, wwn, place, access }: ExportElement): WantedExport => ({ exportId, wwn, place, access })
  const lost = element(5, { place: { pool: 'a', volume: 'nothing' } })
  const missing = element(6, { place: goes.place })
  const access = { initiators: [STRANGER, INITIATOR], chapUser: null }
  const order = {
    kind: 'export.reconcile' as const,
    exports: [
      wanted(stays),
      { ...wanted(changes), access },
      { ...wanted(moves), place: { pool: 'a', volume: 'image' } },
      wanted(lost),
      wanted(missing),
    ],
  }
  const { errors, ...counts } = await run(order)
  t.deepEqual(counts, { made: 3, removed: 2 })
  t.like(errors, [{ wwn: lost.wwn, code: 'not_found' }])
  t.is(exports.find(goes.wwn), undefined)
  t.is(exports.find(moves.wwn)?.place.volume, 'image')
  t.deepEqual(exports.find(changes.wwn)?.access, access)
  t.is((await observe()).standing.length, 4)
  t.like(await run(order), { made: 0, removed: 0 })
  // A volume that somebody made again under its name by hand is another one.
  await host.volumes('a').destroy(changes.place.volume, unwatched)
  await host.volumes('a').create({ volume: changes.place.volume, sizeBytes: 65_536, createParent: true }, unwatched)
  t.like(await run({ ...order, exports: [{ ...wanted(changes), access: changes.access }] }), { made: 1, errors: [] })
  await run(order)
  t.deepEqual(await run({ kind: 'export.reconcile', exports: [] }), { made: 0, removed: 4, errors: [] })
  t.is((await observe()).standing.length, 0)
})

pipelineContract(test, {
  kind: 'export.delete',
  async prepare(t) {
    if (lacks !== undefined) return undefined
    const { element, run, tools, observe } = await room(t)
    const elements = [element(1), element(2)]
    await run(create(...elements))
    const times = { cloneSeconds: 0, deviceSeconds: 0, targetSeconds: 0 }
    return {
      async open(jobId) {
        const work = await openWork(remove(...elements.map((one) => unexportOf(one))), jobId, tools)
        return { ...work, result: () => ({ ...work.result(), times }) }
      },
      observe,
    }
  },
})
