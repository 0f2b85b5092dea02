import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { watch } from '../../../test/contracts/driver-contract.ts'
import { contextOf, pipelineContract } from '../../../test/contracts/pipeline-contract.ts'
import { MIB } from '../../../test/contracts/volume-contract.ts'
import { temporaryDirectory } from '../../../test/harness/loop-mount.ts'
import { NO_INSTANCES } from '../../../test/harness/no-instances.ts'
import { pointsOf } from '../../../test/harness/points.ts'
import { NO_EXPORTS } from '../../export/no-exports.ts'
import { createFileVolumes } from '../../volumes/file/file-volumes.ts'
import type { PipelineTools, StepContext } from '../pipeline.ts'
import { PipelineFailure, runPipeline } from '../run-pipeline.ts'
import { deleteVolume, resizeVolume, snapshotVolume } from './change.ts'
import { cloneVolume, createVolume } from './create.ts'
import { rollbackVolume } from './rollback.ts'

const place = { pool: 'a', volume: 'c' }
const source = { pool: 'a', volume: 'golden', snapshot: 's' }
const EXPORTED = { exportId: randomUUID(), wwn: 'iqn.2026-01.x:c', device: '', guid: '' }

async function prepare(t: ExecutionContext, { isExported = false } = {}) {
  const path = temporaryDirectory(t)
  const volumes = await createFileVolumes(path, 'copy')
  await volumes.create({ volume: 'golden', sizeBytes: MIB, createParent: false }, watch)
  await volumes.snapshot(source, watch)
  const resized: string[] = []
  // Only what the pipelines of volumes ask of them.
  const tools = {
    ...NO_INSTANCES,
    points: pointsOf(t).tools,
    volumes: () => volumes,
    exports: {
      ...NO_EXPORTS,
      ofVolume: (asked: typeof place) =>
        isExported ? [{ ...EXPORTED, place: asked, access: { initiators: ['iqn.2026-01.x:i'], chapUser: null } }] : [],
      async resized({ volume }: typeof place) {
        resized.push(volume)
        throw new Error('the daemon is away')
      },
    },
  } as unknown as PipelineTools
  const files = () => readdirSync(join(path, 'volumes'), { recursive: true, encoding: 'utf8' })
  // A folder of clones stays behind the first of them.
  const observe = () =>
    files()
      .filter((name) => !name.endsWith('+'))
      .toSorted()
  return { tools, volumes, observe, resized }
}

pipelineContract(test, {
  kind: 'volume.create',
  async prepare(t) {
    const { tools, observe } = await prepare(t)
    const spec = { kind: 'volume.create', place, sizeBytes: MIB, createParent: false } as const
    return { open: async (jobId) => createVolume(spec, jobId, tools), observe }
  },
})

pipelineContract(test, {
  kind: 'volume.clone',
  async prepare(t) {
    const { tools, observe } = await prepare(t)
    const spec = { kind: 'volume.clone', source, place, createParent: false, sizeBytes: 2 * MIB } as const
    return { open: async (jobId) => cloneVolume(spec, jobId, tools), observe }
  },
})

pipelineContract(test, {
  kind: 'volume.clone',
  title: 'volume.clone that parts',
  async prepare(t) {
    const { tools, observe } = await prepare(t)
    const spec = { kind: 'volume.clone', source, place, createParent: false, discardSource: true } as const
    return { open: async (jobId) => cloneVolume(spec, jobId, tools), observe }
  },
})

pipelineContract(test, {
  kind: 'volume.snapshot',
  async prepare(t) {
    const { tools, observe } = await prepare(t)
    const spec = { kind: 'volume.snapshot', place: { ...source, snapshot: 'later' } } as const
    return { open: async (jobId) => snapshotVolume(spec, jobId, tools), observe }
  },
})

pipelineContract(test, {
  kind: 'volume.resize',
  async prepare(t) {
    const { tools, observe } = await prepare(t)
    const spec = { kind: 'volume.resize', place: { pool: 'a', volume: 'golden' }, sizeBytes: 2 * MIB } as const
    return { open: async (jobId) => resizeVolume(spec, jobId, tools), observe }
  },
})

pipelineContract(test, {
  kind: 'volume.delete',
  async prepare(t) {
    const { tools, observe } = await prepare(t)
    return { open: async (jobId) => deleteVolume({ kind: 'volume.delete', place: source }, jobId, tools), observe }
  },
})

pipelineContract(test, {
  kind: 'volume.rollback',
  async prepare(t) {
    const { tools, volumes, observe } = await prepare(t)
    await volumes.snapshot({ volume: 'golden', snapshot: 'later' }, watch)
    const spec = { kind: 'volume.rollback', place: source, safety: 'before' } as const
    return { open: async (jobId) => rollbackVolume(spec, jobId, tools), observe }
  },
})

test("what has the name already is nobody's to take over, nor to take back", async (t) => {
  const { tools, volumes } = await prepare(t)
  const spec = { kind: 'volume.create', place, sizeBytes: MIB, createParent: false } as const
  const stranger = await volumes.create({ volume: 'c', sizeBytes: MIB, createParent: false }, watch)
  const failure = await t.throwsAsync(runPipeline(createVolume(spec, 'j', tools), contextOf('j')))
  t.true(failure instanceof PipelineFailure)
  t.like(failure?.cause, { code: 'exists' })
  t.deepEqual(await volumes.find('c'), stranger)
})

test('an order that is cancelled after the agent died behind its work takes that back', async (t) => {
  const { tools, volumes, observe } = await prepare(t)
  const before = observe()
  const spec = { kind: 'volume.clone', source, place, createParent: false } as const
  const context = contextOf('j')
  for (const step of cloneVolume(spec, 'j', tools).steps) await step.run(context)
  t.truthy(await volumes.find('c'))
  const cancelled = { ...context, signal: AbortSignal.abort() }
  await t.throwsAsync(runPipeline(cloneVolume(spec, 'j', tools), cancelled, true), { message: 'cancelled' })
  t.deepEqual(observe(), before)
})

test('what came under the name after the first look is not taken back', async (t) => {
  const { tools, volumes } = await prepare(t)
  const spec = { kind: 'volume.clone', source, place, createParent: false } as const
  const stranger = () => volumes.create({ volume: 'c', sizeBytes: 2 * MIB, createParent: false }, watch)
  const [look, make] = cloneVolume(spec, 'j', tools).steps
  const cancelled = (context: StepContext) =>
    t.throwsAsync(runPipeline(cloneVolume(spec, 'j', tools), { ...context, signal: AbortSignal.abort() }, true))

  // Between the look and the making.
  const late = contextOf('late')
  await look?.run(late)
  let made = await stranger()
  const failure = await t.throwsAsync(runPipeline(cloneVolume(spec, 'j', tools), late))
  t.like(failure?.cause, { code: 'exists' })
  t.deepEqual(await volumes.find('c'), made)
  await volumes.destroy('c', watch)

  // After an agent that died before it made anything.
  const early = contextOf('early')
  await look?.run(early)
  made = await stranger()
  await cancelled(early)
  t.deepEqual(await volumes.find('c'), made)
  await volumes.destroy('c', watch)

  // In place of what it made: also another clone of the same snapshot.
  const again = contextOf('again')
  await look?.run(again)
  await make?.run(again)
  await volumes.destroy('c', watch)
  const [clone] = await volumes.clone([{ source, target: 'c', createParent: false }], watch)
  const resumed = await t.throwsAsync(make?.run(again) ?? Promise.resolve())
  t.like(resumed, { code: 'exists' })
  await cancelled(again)
  t.deepEqual(await volumes.find('c'), clone instanceof Error ? undefined : clone?.volume)
})

test('what an agent made that died before it could note that is taken back, and no earlier snapshot', async (t) => {
  const { tools, volumes, observe } = await prepare(t)
  const spec = { kind: 'volume.snapshot', place: { ...source, snapshot: 'later' } } as const
  const before = observe()
  const dead = contextOf('dead')
  await snapshotVolume(spec, 'j', tools).steps[0]?.run(dead)
  const undo = () => snapshotVolume(spec, 'j', tools).steps[0]?.undo?.(dead)
  await volumes.snapshot({ volume: 'golden', snapshot: 'later' }, watch)
  await undo()
  t.deepEqual(observe(), before)
  await volumes.snapshot({ volume: 'golden', snapshot: 'later' }, watch)
  await dead.memory.stage(`free ${Date.now() + 60_000}`)
  await undo()
  t.truthy(await volumes.findSnapshot('golden', 'later'))
})

test('what is exported is not deleted, and on a pool that copies not snapshotted: its wwns are named', async (t) => {
  const { tools, volumes } = await prepare(t, { isExported: true })
  const deleting = deleteVolume({ kind: 'volume.delete', place: { pool: 'a', volume: 'golden' } }, 'j', tools)
  const failure = await t.throwsAsync(runPipeline(deleting, contextOf('j')))
  t.like(failure?.cause, { code: 'conflict', blockers: [EXPORTED.wwn] })
  const snapshot = { kind: 'volume.snapshot', place: { ...source, snapshot: 'later' } } as const
  const refused = await t.throwsAsync(runPipeline(snapshotVolume(snapshot, 'j', tools), contextOf('j')))
  t.like(refused?.cause, { code: 'conflict', blockers: [EXPORTED.wwn] })
  t.truthy(await volumes.find('golden'))
})

test('what an agent that died had deleted is told as deleted, also when its order is cancelled', async (t) => {
  const { tools, observe } = await prepare(t)
  const cancelled = contextOf('j', undefined, AbortSignal.abort())
  for (const gone of [source, { pool: 'a', volume: 'golden' }]) {
    const deletion = () => deleteVolume({ kind: 'volume.delete', place: gone }, 'j', tools)
    const before = observe()
    await t.throwsAsync(runPipeline(deletion(), cancelled, true), { message: 'cancelled' })
    t.deepEqual(observe(), before)
    await runPipeline(deletion(), contextOf('j'))
    t.deepEqual((await runPipeline(deletion(), cancelled, true)).result, {})
  }
})

test('what is not there is not rolled back to, and a snapshot that somebody else took is no safety', async (t) => {
  const { tools, volumes, observe } = await prepare(t)
  const before = observe()
  for (const [place, safety, code] of [
    [{ ...source, snapshot: 'absent' }, 'before', 'not_found'],
    [{ ...source, volume: 'absent' }, 'before', 'not_found'],
    [source, 's', 'exists'],
  ] as const) {
    const work = rollbackVolume({ kind: 'volume.rollback', place, safety }, 'j', tools)
    const failure = await t.throwsAsync(runPipeline(work, contextOf('j')))
    t.like(failure?.cause, { code })
  }
  t.deepEqual(observe(), before)
  t.truthy(await volumes.findSnapshot('golden', 's'))
})

test('a volume that grew has grown, also when nobody can be told of it', async (t) => {
  const { tools, resized } = await prepare(t)
  const spec = { kind: 'volume.resize', place: { pool: 'a', volume: 'golden' }, sizeBytes: 2 * MIB } as const
  const { result } = await runPipeline(resizeVolume(spec, 'j', tools), contextOf('j'))
  t.like(result, { sizeBytes: 2 * MIB, cow: false })
  t.deepEqual(resized, ['golden'])
})

test('a clone is as large as it is asked for', async (t) => {
  const { tools, volumes } = await prepare(t)
  const spec = { kind: 'volume.clone', source, place, createParent: false, sizeBytes: 2 * MIB } as const
  const { result } = await runPipeline(cloneVolume(spec, 'j', tools), contextOf('j'), false)
  t.like(result, { sizeBytes: 2 * MIB })
  t.like(await volumes.find(place.volume), { sizeBytes: 2 * MIB, origin: { path: 'golden', snapshot: 's' } })
})
