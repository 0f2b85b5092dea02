import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { openWork } from '../agent/pipelines/pipelines.ts'
import { runPipeline } from '../agent/pipelines/run-pipeline.ts'
import { listTarget } from '../agent/points/target-listing.ts'
import type { PointRef } from '../shared/point-spec.ts'
import { READS, type ReadAnswerOf, type ReadRequestOf } from '../shared/wire/reads.ts'
import { contextOf, memoryOf, pipelineContract } from './contracts/pipeline-contract.ts'
import {
  failureOf,
  fill,
  type PointOrders,
  pointOrders,
  readable,
  refOf,
  restoreTo,
  SERIES,
  seen,
  threePoints,
} from './harness/point-orders.ts'

const move = (made: PointOrders, kind: 'point.trash' | 'point.untrash', { id: pointId, name }: PointRef) =>
  ({ kind, target: made.target, series: SERIES, pointId, name }) as const

const removal = (made: PointOrders, { id: pointId, name }: PointRef) =>
  ({ kind: 'point.delete', target: made.target, series: SERIES, pointId, name, trashed: true }) as const

const trashOf = (made: PointOrders) => join(made.points.backupRoot, '.trash', SERIES)
const metadataOf = (made: PointOrders) => JSON.parse(readFileSync(join(made.backups, 'backup-metadata'), 'utf8')).points
/** Points of the series, in their order. */
const inSeries = (made: PointOrders) =>
  readdirSync(made.backups)
    .filter((name) => /^\d/.test(name))
    .toSorted()

async function listed(made: PointOrders, path: string) {
  const request = { target: made.target, path, limit: 100 }
  return (await listTarget(made.tools.points, { ...question(request), untilMs: Number.POSITIVE_INFINITY })).items
}

function question(request: ReadRequestOf<'target-list'>) {
  const parsed = READS['target-list'].request.parse(request)
  return { id: randomUUID(), request: parsed, sealed: undefined, signal: new AbortController().signal }
}

test('a trashed point is out of its series, nobody sees the trash, and it comes back as it was', async (t) => {
  const made = await pointOrders(t)
  const { refs, trees } = await threePoints(made)
  const [full, first, last] = refs
  if (!full || !first || !last) return t.fail()
  const before = { files: seen(made.backups), told: metadataOf(made) }
  for (const _ of [1, 2]) await made.run(move(made, 'point.trash', last))
  t.deepEqual(inSeries(made), [full.name, first.name])
  t.deepEqual(metadataOf(made), before.told.slice(0, 2))
  t.deepEqual(readdirSync(trashOf(made)), [last.name])
  t.deepEqual(
    (await listed(made, '')).map(({ name }) => name),
    ['group'],
  )
  t.deepEqual((await listed(made, 'group/host'))[0]?.points, [first.name, full.name])
  const verify = { kind: 'point.verify', ...readable(made, [full, first]) } as const
  t.true((await made.run(verify)).files > 0)

  for (const _ of [1, 2]) await made.run(move(made, 'point.untrash', last))
  t.deepEqual(metadataOf(made), before.told)
  // Times of directories apart, in which a file came and went.
  const withoutTimes = (text: string) =>
    text.replaceAll(/^(d .*? )\d+\.\d+ /gm, '$1').replaceAll(/^.*backup-metadata$/gm, '')
  t.is(withoutTimes(seen(made.backups)), withoutTimes(before.files))
  t.false(existsSync(join(made.points.backupRoot, '.trash')))
  const dataset = randomUUID()
  await made.run(restoreTo(made, refs, { kind: 'new', place: { pool: 'a', dataset } }))
  t.is(seen(join(made.pool, dataset)), trees[2] ?? '')

  // What a point in the series rests on stays, whatever the fleet knows of that one.
  t.is((await failureOf(t, made.run(move(made, 'point.trash', first)))).code, 'conflict')
  for (const ref of [last, first]) await made.run(move(made, 'point.trash', ref))
  await made.run(removal(made, last))
  t.deepEqual(readdirSync(trashOf(made)), [first.name])
  for (const _ of [1, 2]) await made.run(removal(made, first))
  t.false(existsSync(join(made.points.backupRoot, '.trash')))
  t.deepEqual(inSeries(made), [full.name])
})

test('an agent that was killed behind the rename finds the point moved, and what is told of it is not lost', async (t) => {
  const made = await pointOrders(t)
  const { refs } = await threePoints(made)
  const [last] = refs.slice(-1)
  if (!last) return t.fail()
  const told = metadataOf(made)
  for (const kind of ['point.trash', 'point.untrash'] as const) {
    const jobId = randomUUID()
    const memory = memoryOf()
    const killed = await openWork(move(made, kind, last), jobId, made.tools)
    for (const step of killed.steps.slice(0, 3)) await step.run(contextOf(jobId, memory))
    await killed.close?.()
    // Somebody else's order of the series writes its metadata meanwhile.
    const other = made.create()
    await made.run(other)
    await runPipeline(await openWork(move(made, kind, last), jobId, made.tools), contextOf(jobId, memory))
    t.is(existsSync(join(trashOf(made), last.name)), kind === 'point.trash')
    await made.run({
      kind: 'point.delete',
      target: made.target,
      series: SERIES,
      pointId: other.pointId,
      name: other.name,
    })
  }
  t.deepEqual(metadataOf(made), told)
})

test("a point whose name another's has by now stays in the trash, and another's is never moved or removed", async (t) => {
  const made = await pointOrders(t)
  fill(made.root)
  const ours = made.create()
  await made.run(ours)
  await made.run(move(made, 'point.trash', refOf(ours)))
  const theirs = { ...made.create(), name: ours.name }
  await made.run(theirs)
  t.is((await failureOf(t, made.run(move(made, 'point.untrash', refOf(ours))))).code, 'exists')
  t.is((await failureOf(t, made.run(move(made, 'point.trash', refOf(theirs))))).code, 'exists')
  t.is(
    (await failureOf(t, made.run(move(made, 'point.trash', { id: randomUUID(), name: ours.name })))).code,
    'not_found',
  )
  // What lies with a point tells whose it is, also when the series' file is lost; else its sums do.
  rmSync(join(made.backups, 'backup-metadata'))
  for (const sumsSha256 of [undefined, 'a'.repeat(64)]) {
    const stranger = removal(made, { id: randomUUID(), name: ours.name })
    await made.run(sumsSha256 === undefined ? { ...stranger, failed: true } : { ...stranger, sumsSha256 })
    t.true(existsSync(join(made.backups, ours.name)) && existsSync(join(trashOf(made), ours.name)))
  }
  await made.run({ ...removal(made, refOf(ours)), sumsSha256: 'a'.repeat(64) })
  t.false(existsSync(join(made.points.backupRoot, '.trash')))
  t.true(existsSync(join(made.backups, ours.name)))
})

test('a point that is nowhere is not moved, and a trash that is in use stays', async (t) => {
  const made = await pointOrders(t)
  const { refs } = await threePoints(made)
  const [last] = refs.slice(-1)
  if (!last) return t.fail()
  await made.run(move(made, 'point.trash', last))
  mkdirSync(join(made.points.backupRoot, '.trash', 'elsewhere'), { recursive: true })
  writeFileSync(join(made.points.backupRoot, '.trash', 'elsewhere', 'kept'), 'x')
  await made.run(removal(made, last))
  t.deepEqual(readdirSync(join(made.points.backupRoot, '.trash')), ['elsewhere'])
  for (const kind of ['point.trash', 'point.untrash'] as const)
    t.is((await failureOf(t, made.run(move(made, kind, last)))).code, 'not_found')
})

for (const kind of ['point.trash', 'point.untrash', 'point.delete'] as const) {
  pipelineContract(test, {
    kind,
    title: `${kind} of what retention deleted`,
    async prepare(t) {
      const made = await pointOrders(t)
      writeFileSync(join(made.root, 'file'), 'x')
      const point = made.create()
      await made.run(point)
      const last = refOf(point)
      if (kind !== 'point.trash') await made.run(move(made, 'point.trash', last))
      const spec = kind === 'point.delete' ? removal(made, last) : move(made, kind, last)
      const observe = () => readdirSync(made.points.backupRoot, { recursive: true }).map(String).toSorted()
      return { open: (jobId) => openWork(spec, jobId, made.tools), observe }
    },
  })
}

test('a directory of many series with many points is told whole, in answers that fit one message, and in time', async (t) => {
  const made = await pointOrders(t)
  const names = Array.from({ length: 1_000 }, (_, n) => `20260101T${String(n).padStart(6, '0')}Z`)
  const series = Array.from({ length: 70 }, (_, n) => `series-${n}`).toSorted()
  const metadata = JSON.stringify({ version: 1, points: names.map((name) => ({ name })) })
  for (const name of series) {
    const directory = join(made.points.backupRoot, 'many', name)
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, 'backup-metadata'), metadata)
  }
  for (const untilMs of [Number.POSITIVE_INFINITY, 0]) {
    const told: ReadAnswerOf<'target-list'>['items'] = []
    let cursor: string | undefined
    do {
      const request = { target: made.target, path: 'many', limit: 1_000, cursor }
      const { items, next } = await listTarget(made.tools.points, { ...question(request), untilMs })
      t.true(Buffer.byteLength(JSON.stringify(items)) < 900_000)
      if (untilMs === 0) t.true(items.length <= 4)
      told.push(...items)
      cursor = next ?? undefined
    } while (cursor !== undefined)
    t.deepEqual(
      told.map(({ name }) => name),
      series,
    )
    t.true(told.every(({ points = [] }) => points.length === names.length && points[0] === names.at(-1)))
  }
})
