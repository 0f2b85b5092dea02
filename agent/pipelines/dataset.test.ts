import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { JobKind } from '../../shared/job-spec.ts'
import { watch } from '../../test/contracts/driver-contract.ts'
import { contextOf, pipelineContract } from '../../test/contracts/pipeline-contract.ts'
import { temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { NO_INSTANCES } from '../../test/harness/no-instances.ts'
import { pointsOf } from '../../test/harness/points.ts'
import { openDriver } from '../drivers/registry.ts'
import type { PipelineTools } from './pipeline.ts'
import { openWork } from './pipelines.ts'
import { runPipeline } from './run-pipeline.ts'

async function prepare(t: ExecutionContext) {
  const path = temporaryDirectory(t)
  const driver = await openDriver({ name: 'a', path, driver: 'copy' })
  const tools: PipelineTools = {
    driver: () => driver,
    restorePaths: [],
    forbiddenPaths: [],
    points: pointsOf(t).tools,
    ...NO_INSTANCES,
  }
  const source = { pool: 'a', dataset: randomUUID() }
  await driver.create(source.dataset, watch)
  const target = { pool: 'a', dataset: randomUUID() }
  return { tools, source, target, observe: () => readdirSync(join(path, 'datasets')).toSorted() }
}

pipelineContract(test, {
  kind: 'dataset.create',
  async prepare(t) {
    const { tools, target, observe } = await prepare(t)
    return { open: (jobId) => openWork({ kind: 'dataset.create', target }, jobId, tools), observe }
  },
})

pipelineContract(test, {
  kind: 'dataset.delete',
  async prepare(t) {
    const { tools, source, observe } = await prepare(t)
    return { open: (jobId) => openWork({ kind: 'dataset.delete', target: source }, jobId, tools), observe }
  },
})

pipelineContract(test, {
  kind: 'snapshot.create',
  async prepare(t) {
    const { tools, source, target, observe } = await prepare(t)
    const spec = { kind: 'snapshot.create', source, target, readonly: true } as const
    return { open: (jobId) => openWork(spec, jobId, tools), observe }
  },
})

pipelineContract(test, {
  kind: 'dataset.clone',
  async prepare(t) {
    const { tools, source, target, observe } = await prepare(t)
    return { open: (jobId) => openWork({ kind: 'dataset.clone', source, target }, jobId, tools), observe }
  },
})

test('what an agent that died had done of an order is taken back when that is cancelled, or told', async (t) => {
  const { tools, source, target, observe } = await prepare(t)
  const before = observe()
  const cancelled = contextOf('j', undefined, AbortSignal.abort())
  const orders = [
    { kind: 'dataset.create', target },
    { kind: 'snapshot.create', source, target, readonly: true },
    { kind: 'dataset.clone', source, target },
  ] as const
  for (const order of orders) {
    const open = () => openWork<JobKind>(order, 'j', tools)
    await runPipeline(await open(), contextOf('j'))
    t.notDeepEqual(observe(), before)
    await t.throwsAsync(runPipeline(await open(), cancelled, true), { message: 'cancelled' })
    t.deepEqual(observe(), before, order.kind)
    await t.throwsAsync(runPipeline(await open(), cancelled, true), { message: 'cancelled' })
  }
  const deletion = () => openWork({ kind: 'dataset.delete', target: source }, 'j', tools)
  await t.throwsAsync(runPipeline(await deletion(), cancelled, true), { message: 'cancelled' })
  t.deepEqual(observe(), before)
  await runPipeline(await deletion(), contextOf('j'))
  t.deepEqual((await runPipeline(await deletion(), cancelled, true)).result, {})
  t.deepEqual(observe(), [])
})

test('an image in another pool than its source is refused', async (t) => {
  const { tools, source, target } = await prepare(t)
  const spec = { kind: 'dataset.clone', source: { ...source, pool: 'b' }, target } as const
  const step = (await openWork(spec, randomUUID(), tools)).steps[0]
  const context = contextOf('')
  await t.throwsAsync(async () => step?.run(context), { code: 'invalid' })
})
